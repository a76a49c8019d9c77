//! `bugzfeed bench`: measures a server. Reads and writes what the options name, and decides whether
//! the results are as they should be.

mod measure;
mod options;
mod setup;

use std::path::Path;
use std::{fs, io};

pub use self::options::Options;

use self::options::Task;
use crate::bench::interrupt;
use crate::bench::load::worker;
use crate::bench::report::{Results, comparison, json, plots, text};
use crate::bench::server::floor;
use crate::bench::status_line::StatusLine;
use crate::failure::Failure;
use crate::machine;

/// Measures.
///
/// # Errors
/// When a delivery was missing, repeated or out of order, or a condition does not hold; when a
/// setting is wrong; when there is no server.
pub fn run(options: &Options) -> Result<(), Failure> {
    // Where it may not be raised, fewer clients fit, which is checked before a run.
    machine::raise_open_files();
    match options.scenario {
        Task::Worker => worker::run().map_err(|error| ended(&error.to_string())),
        Task::Floor => floor::run(options.audience()).map_err(|error| ended(&error.to_string())),
        Task::Show => {
            if options.beside.is_empty() {
                return Err(Failure::Usage(
                    "show: nothing to show; --beside FILE names results of --json.".to_owned(),
                ));
            }
            let files = Files::read(options)?;
            finish(options, Results::default(), files)
        }
        Task::Measure(name) => {
            interrupt::watch().map_err(|error| ended(&error.to_string()))?;
            // Before anything is measured, since a file may be one that cannot be read.
            let files = Files::read(options)?;
            let status_line = StatusLine::new(options.quiet);
            let results = options.measure(name, &status_line)?;
            status_line.end();
            finish(options, results, files)
        }
    }
}

/// Earlier results that the options name.
struct Files {
    beside: Vec<Results>,
    compare: Option<Results>,
}

impl Files {
    fn read(options: &Options) -> Result<Self, Failure> {
        let beside = options.beside.iter().map(|file| read(file));
        Ok(Self {
            beside: beside.collect::<Result<_, _>>()?,
            compare: options.compare.as_deref().map(read).transpose()?,
        })
    }
}

/// Shows the results, and fails where they are not as they should be.
fn finish(options: &Options, mut results: Results, files: Files) -> Result<(), Failure> {
    if let Some(why) = &results.ended_early
        && results.points.is_empty()
    {
        return Err(ended(why));
    }
    let Files { beside, compare } = files;
    for other in beside {
        if results.points.is_empty() {
            results = other;
        } else {
            results.add_sides(&other);
        }
    }
    options.show(&results, compare.as_ref())?;
    if let Some(why) = &results.ended_early
        && results.is_reconciled()
    {
        return Err(ended(why));
    }
    for assertion in &options.assert {
        assertion
            .check(&results)
            .map_err(|why| Failure::CheckFailed(format!("{why}.")))?;
    }
    if let Some(old) = &compare
        && !comparison::is_possible(&results, old)
    {
        return Err(Failure::CheckFailed(
            "--compare: the file is of another scenario, or of other numbers of clients; nothing can be said of a change.".to_owned(),
        ));
    }
    if results.is_reconciled() {
        Ok(())
    } else {
        Err(Failure::CheckFailed(
            "what came is not what should have come; the table says of which server.".to_owned(),
        ))
    }
}

impl Options {
    fn show(&self, results: &Results, old: Option<&Results>) -> Result<(), Failure> {
        print!("{}", text::table(results));
        if let Some(old) = old {
            print!("{}", comparison::table(results, old));
        }
        if let Some(file) = &self.json {
            let text = json::text(results).map_err(|error| ended(&error.to_string()))?;
            write(file, &text)?;
        }
        if let Some(folder) = &self.svg {
            let refuse = |error: io::Error| {
                let folder = folder.display();
                Failure::Unavailable(format!("cannot make the folder {folder}: {error}."))
            };
            fs::create_dir_all(folder).map_err(refuse)?;
            for (name, svg) in plots::plots(results) {
                write(&folder.join(format!("{name}.svg")), &svg)?;
            }
        }
        Ok(())
    }
}

fn ended(why: &str) -> Failure {
    Failure::Unavailable(format!("the bench has ended early: {why}."))
}

fn read(file: &Path) -> Result<Results, Failure> {
    let refuse =
        |error: String| Failure::Configuration(format!("cannot read {}: {error}.", file.display()));
    let text = fs::read_to_string(file).map_err(|error| refuse(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| refuse(error.to_string()))
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    fs::write(file, text)
        .map_err(|error| Failure::Unavailable(format!("cannot write {}: {error}.", file.display())))
}
