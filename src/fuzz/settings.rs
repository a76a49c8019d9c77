//! A file of settings: each mistake in it has a place, and what is shown of it can be read again.

use std::ffi::OsString;
use std::fs;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::files::Folder;
use crate::failure::Failure;
use crate::settings::{File, values, with_file};

/// A command with each kind of setting.
fn program() -> Command {
    let option = |name: &'static str| {
        Arg::new(name).long(name).env(match name {
            "config" => "FUZZ_CONFIG",
            _ => "FUZZ_OTHER",
        })
    };
    let serve = Command::new("serve")
        .arg(option("config").value_parser(value_parser!(std::path::PathBuf)))
        .arg(option("listen").action(ArgAction::Append))
        .arg(option("source").default_value("sqlite:bugzfeed.db"))
        .arg(option("ping").value_parser(value_parser!(u16)))
        .arg(option("wait").action(ArgAction::SetTrue));
    Command::new("bugzfeed").subcommand(serve)
}

const IDS: [&str; 4] = ["listen", "source", "ping", "wait"];

/// What a file of settings says.
pub(super) fn settings(input: &[u8]) {
    let folder = Folder::new();
    let path = folder.path().join("settings.toml");
    fs::write(&path, input).unwrap();
    let Some((shown, given)) = shown(&path.into()) else {
        return;
    };
    let path = folder.path().join("shown.toml");
    fs::write(&path, shown).unwrap();
    let (_, again) = self::shown(&path.into()).expect("what is shown can be read");
    assert_eq!(given, again);
}

/// What `bugzfeed config show` says of a file, and the values; nothing where the file is wrong.
fn shown(path: &OsString) -> Option<(String, Vec<Vec<OsString>>)> {
    let arguments = ["bugzfeed", "serve", "--config"].map(OsString::from);
    let arguments = [&arguments[..], std::slice::from_ref(path)].concat();
    let mut program = program();
    program.build();
    let commands: Vec<_> = program.get_subcommands().cloned().collect();
    let file = match File::read(path.as_ref(), &commands) {
        Ok(file) => file,
        Err(Failure::Configuration(why)) => {
            check_places(&why, &path.to_string_lossy());
            return None;
        }
        Err(other) => panic!("{other:?}"),
    };
    let program = with_file(program, &arguments).expect("it was read before");
    let mut matches = program.try_get_matches_from(&arguments).ok()?;
    let (_, matches) = matches.remove_subcommand().unwrap();
    let given = |id: &str, matches: &ArgMatches| -> Vec<OsString> {
        let raw = matches.get_raw(id).into_iter().flatten();
        raw.map(ToOwned::to_owned).collect()
    };
    let text = values(&commands[0], &matches, Some(&file));
    Some((text, IDS.map(|id| given(id, &matches)).to_vec()))
}

/// Each mistake is a line that begins with its place.
fn check_places(why: &str, path: &str) {
    if why.starts_with("cannot read") {
        return;
    }
    for line in why.lines() {
        let place = line
            .strip_prefix(path)
            .and_then(|rest| rest.strip_prefix(':'));
        let mut parts = place
            .unwrap_or_else(|| panic!("no place: {line}"))
            .splitn(3, ':');
        let mut number = || parts.next().and_then(|part| part.parse::<usize>().ok());
        assert!(number() > Some(0) && number() > Some(0), "{line}");
        assert!(
            !line.contains(|c: char| c.is_control()),
            "{}",
            line.escape_debug()
        );
    }
}
