//! `bugzfeed token`: who may connect to a server with `--access tokens:FILE`. Keeps the file, which
//! holds a name and a hash for each token, and tells a token once.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use data_encoding::BASE64URL_NOPAD;
use ring::rand::{SecureRandom, SystemRandom};

use crate::access::{Tokens, is_name};
use crate::failure::Failure;
use crate::work::FileLock;

/// Nobody guesses 256 bits.
const TOKEN_BYTES: usize = 32;

/// Settings of `bugzfeed token`.
#[derive(Args, Debug)]
pub struct Options {
    #[command(subcommand)]
    command: Command,
    /// File of the tokens' hashes
    #[arg(
        long,
        env = "BUGZFEED_TOKENS",
        value_name = "FILE",
        default_value = "bugzfeed.tokens",
        global = true
    )]
    file: PathBuf,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Make a token, and print it: it is kept nowhere
    Add(Holder),
    /// Print the names of those who hold a token
    List,
    /// Take somebody's token away
    Remove(Holder),
}

#[derive(Args, Debug)]
struct Holder {
    /// Whose token it is, for you to know: up to 64 letters, digits and . _ @ + -
    #[arg(value_name = "NAME", value_parser = name)]
    name: String,
}

/// Does what the command says.
///
/// # Errors
/// When the file cannot be used, or the name is not one that it can be done for.
pub fn run(options: &Options) -> Result<(), Failure> {
    match &options.command {
        Command::Add(holder) => add(&options.file, &holder.name),
        Command::List => list(&options.file),
        Command::Remove(holder) => remove(&options.file, &holder.name),
    }
}

fn name(text: &str) -> Result<String, String> {
    match is_name(text) {
        true => Ok(text.to_owned()),
        false => Err("accepted are up to 64 letters, digits and . _ @ + -".to_owned()),
    }
}

fn add(file: &Path, name: &str) -> Result<(), Failure> {
    let _lock = lock(file)?;
    let mut text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(cannot_use(file, &error)),
    };
    if parse(file, &text)?.names().any(|known| known == name) {
        return Err(Failure::Configuration(format!(
            "{name} has a token already; bugzfeed token remove {name} takes it away."
        )));
    }
    let token = make_token()?;
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(&Tokens::line(name, token.as_bytes()));
    text.push('\n');
    replace(file, &text)?;
    writeln!(io::stdout(), "{token}").map_err(|error| {
        Failure::Unavailable(format!(
            "the token could not be printed ({error}), and nobody knows it; bugzfeed token remove {name} makes room for another."
        ))
    })?;
    say_when(file);
    Ok(())
}

fn list(file: &Path) -> Result<(), Failure> {
    for name in read(file)?.1.names() {
        // A reader that closes the pipe early is no failure.
        let _ = writeln!(io::stdout(), "{name}");
    }
    Ok(())
}

/// Leaves all other lines as they are, comments, too.
fn remove(file: &Path, name: &str) -> Result<(), Failure> {
    let _lock = lock(file)?;
    let (text, tokens) = read(file)?;
    if !tokens.names().any(|known| known == name) {
        return Err(Failure::Configuration(format!(
            "{name} has no token in {}; bugzfeed token list prints who has one.",
            file.display()
        )));
    }
    let is_others = |line: &&str| line.split_ascii_whitespace().next() != Some(name);
    let rest: String = text.split_inclusive('\n').filter(is_others).collect();
    replace(file, &rest)?;
    say_when(file);
    Ok(())
}

fn make_token() -> Result<String, Failure> {
    let mut bytes = [0; TOKEN_BYTES];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Failure::Unavailable("the system gives no random numbers.".to_owned()))?;
    Ok(BASE64URL_NOPAD.encode(&bytes))
}

fn read(file: &Path) -> Result<(String, Tokens), Failure> {
    let text = fs::read_to_string(file).map_err(|error| cannot_use(file, &error))?;
    let tokens = parse(file, &text)?;
    Ok((text, tokens))
}

fn parse(file: &Path, text: &str) -> Result<Tokens, Failure> {
    Tokens::parse(text).map_err(|why| cannot_use(file, &why))
}

/// Keeps others from changing the file at the same time.
fn lock(file: &Path) -> Result<FileLock, Failure> {
    let lock = FileLock::take(&beside(file, "lock")).map_err(|error| cannot_use(file, &error))?;
    lock.ok_or_else(|| {
        Failure::Unavailable(format!(
            "somebody else is changing {} at this moment.",
            file.display()
        ))
    })
}

/// Replaces the file at once: a server that reads it meanwhile gets the old or the new one. A new
/// one is nobody else's to read.
fn replace(file: &Path, text: &str) -> Result<(), Failure> {
    let draft = beside(file, "new");
    let written = write(&draft, file, text).and_then(|()| fs::rename(&draft, file));
    written.map_err(|error| {
        // It never counted.
        let _ = fs::remove_file(&draft);
        cannot_use(file, &error)
    })
}

fn write(draft: &Path, file: &Path, text: &str) -> io::Result<()> {
    let mut new = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(draft)?;
    if let Ok(old) = fs::metadata(file) {
        new.set_permissions(old.permissions())?;
    }
    new.write_all(text.as_bytes())?;
    new.sync_all()
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{suffix}"));
    name.into()
}

fn cannot_use(file: &Path, why: &dyn std::fmt::Display) -> Failure {
    Failure::Configuration(format!(
        "cannot use {} (setting --file): {why}.",
        file.display()
    ))
}

fn say_when(file: &Path) {
    eprintln!(
        "bugzfeed: a server with --access tokens:{} takes this over when it gets SIGHUP",
        file.display()
    );
}
