//! `bugzfeed schema`: prints what makes a Bugzilla record its changes, and checks whether a
//! database has it.

use std::io::{self, ErrorKind, Write};

use clap::Args;

use super::discreet::Discreet;
use crate::failure::Failure;
use crate::schema::{self, Engine, Findings, Mend};
use crate::source::Address;

/// Settings of `bugzfeed schema`.
#[derive(Args, Debug)]
pub struct Options {
    /// Kind of Bugzilla's database
    #[arg(value_enum, required_unless_present = "check")]
    engine: Option<Engine>,
    /// Print the removal of the table and the triggers
    #[arg(long, conflicts_with = "check")]
    drop: bool,
    /// Check whether the table and the triggers of this database are there and intact
    #[arg(long, value_name = "SOURCE", value_parser = Discreet(str::parse::<Address>))]
    check: Option<Address>,
}

/// Prints a script, or checks a database.
///
/// # Errors
/// When something is missing or damaged, or the database cannot be asked.
pub fn run(options: &Options) -> Result<(), Failure> {
    match (&options.check, options.engine) {
        (Some(address), engine) => check(address, engine),
        (None, Some(engine)) => print(if options.drop {
            engine.removal()
        } else {
            engine.installation()
        }),
        (None, None) => Err(Failure::Usage(
            "the kind of database is missing; accepted are mysql, postgres and sqlite.".to_owned(),
        )),
    }
}

fn check(address: &Address, engine: Option<Engine>) -> Result<(), Failure> {
    let cannot = |error| Failure::Unavailable(format!("cannot check {address}: {error}."));
    let Address::Database(database) = address else {
        return Err(cannot("only a database has a table and triggers".into()));
    };
    let of_address = Engine::of(database);
    if let Some(engine) = engine.filter(|engine| *engine != of_address) {
        return Err(Failure::Usage(format!(
            "{address} is no {} database; --check needs no kind beside its address.",
            engine.name()
        )));
    }
    let findings = schema::check(database).map_err(cannot)?;
    for unknown in &findings.unknown {
        eprintln!("bugzfeed: this account may not see {unknown}.");
    }
    if findings.problems.is_empty() {
        return print(&format!(
            "The table push_notify and its triggers are there and intact in {address}.\n"
        ));
    }
    let problems: Vec<&str> = findings
        .problems
        .iter()
        .map(|problem| problem.text.as_str())
        .collect();
    Err(Failure::CheckFailed(format!(
        "{address} does not record changes as it should: {}.{}",
        problems.join("; "),
        advice(of_address, &findings)
    )))
}

/// What mends all that was found and changes nothing else, a line for each step.
fn advice(engine: Engine, findings: &Findings) -> String {
    let (name, mends) = (
        engine.name(),
        findings.problems.iter().map(|problem| &problem.mend),
    );
    let has = |mend| mends.clone().any(|other| *other == mend);
    let mut advice = String::new();
    if has(Mend::Anew) {
        let changes = match findings.changes {
            Some(changes) => format!("the {changes} changes"),
            None => "all changes".to_owned(),
        };
        advice.push_str(&format!(
            "\nbugzfeed: the table itself must be made anew, by the output of `bugzfeed schema {name} --drop` and then that of \
             `bugzfeed schema {name}`; {changes} in it that were not read yet and the rights on it are lost then."
        ));
    }
    let mut statements: Vec<&str> = mends
        .clone()
        .filter_map(|mend| match mend {
            Mend::Statement(statement) => Some(statement.as_str()),
            Mend::Script | Mend::Anew | Mend::Unknown => None,
        })
        .collect();
    statements.dedup();
    if !statements.is_empty() {
        advice.push_str(&format!(
            "\nbugzfeed: the database's administrator can mend that by: {};",
            statements.join("; ")
        ));
    }
    if has(Mend::Script) && !has(Mend::Anew) {
        advice.push_str(&format!(
            "\nbugzfeed: the output of `bugzfeed schema {name}`, run by Bugzilla's own account, adds what is missing and replaces what \
             differs; no change that waits in the table is lost."
        ));
    }
    advice
}

/// A reader that closes the pipe early is no failure.
fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::Unavailable(format!(
            "cannot write the output: {error}."
        ))),
        _ => Ok(()),
    }
}
