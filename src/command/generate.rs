//! `bugzfeed man` and `bugzfeed completions`: what packages install beside the program, made from
//! the command line's own definition. Knows no command.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Command, ValueEnum};
use clap_complete::Shell;

use crate::failure::Failure;

/// Where `bugzfeed man` puts the pages.
#[derive(Args, Debug)]
pub struct ManOptions {
    /// Folder to write the pages to: bugzfeed.1, and one for each command; it is made where it is
    /// not there
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

/// What `bugzfeed completions` is for.
#[derive(Args, Debug)]
pub struct CompletionsOptions {
    /// Shell that reads them
    #[arg(value_name = "SHELL")]
    shell: SupportedShell,
}

/// Shells that packages of distributions have a folder for.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum SupportedShell {
    Bash,
    Zsh,
    Fish,
}

/// Writes the manual pages of `program`.
///
/// # Errors
/// When the folder cannot be written to.
pub fn man(program: Command, options: &ManOptions) -> Result<(), Failure> {
    let folder = &options.folder;
    fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(program, folder))
        .map_err(|error| {
            Failure::Unavailable(format!(
                "cannot write the pages to {}: {error}.",
                folder.display()
            ))
        })
}

/// Prints what completes the command lines of `program`.
///
/// # Errors
/// Never.
pub fn completions(mut program: Command, options: &CompletionsOptions) -> Result<(), Failure> {
    let shell = match options.shell {
        SupportedShell::Bash => Shell::Bash,
        SupportedShell::Zsh => Shell::Zsh,
        SupportedShell::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut program, "bugzfeed", &mut script);
    // A reader that closes the pipe early is no failure.
    let _ = io::stdout().write_all(&script);
    Ok(())
}
