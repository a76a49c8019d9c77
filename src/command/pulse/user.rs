//! `bugzfeed pulse user`: the accounts of a Pulse, by PulseGuardian's rules. Knows no guard.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::secret::{self, NewPassword};
use super::{Broker, mail, say};
use crate::failure::Failure;
use crate::management::{Account, Client, Record};
use crate::pulse::AccountName;

/// Settings of `bugzfeed pulse user`.
#[derive(Args, Debug)]
pub(super) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Make an account, which may use queues and exchanges of its own name and read all exchanges
    Add(AddOptions),
    /// Give an account a new password; its connections stay
    Passwd(PasswdOptions),
    /// Say who answers for an account
    Owners(OwnersOptions),
    /// Delete an account, which ends its connections
    Remove(RemoveOptions),
    /// Print all accounts with what they have
    List(ListOptions),
}

#[derive(Args, Debug)]
struct AddOptions {
    /// Account: a letter and then letters, digits, '.', '_' and '-'
    name: AccountName,
    /// Mail address of somebody who answers for the account; may be given several times
    #[arg(long, value_name = "MAIL", value_parser = mail::address)]
    owner: Vec<String>,
    #[command(flatten)]
    password: PasswordFile,
    #[command(flatten)]
    broker: Broker,
}

#[derive(Args, Debug)]
struct PasswdOptions {
    /// Account
    name: AccountName,
    #[command(flatten)]
    password: PasswordFile,
    #[command(flatten)]
    broker: Broker,
}

#[derive(Args, Debug)]
struct PasswordFile {
    /// File for the new password, which is printed where none is given
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

#[derive(Args, Debug)]
struct OwnersOptions {
    /// Account
    name: AccountName,
    /// Mail addresses, in place of those before
    #[arg(value_name = "MAIL", value_parser = mail::address)]
    owners: Vec<String>,
    #[command(flatten)]
    broker: Broker,
}

#[derive(Args, Debug)]
struct RemoveOptions {
    /// Account
    name: AccountName,
    /// Delete its queues and exchanges, too
    #[arg(long)]
    purge: bool,
    #[command(flatten)]
    broker: Broker,
}

#[derive(Args, Debug)]
struct ListOptions {
    /// Print an array of JSON objects
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    broker: Broker,
}

/// Does what the command says.
///
/// # Errors
/// When the account is not what the command needs, or the broker cannot be reached.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    match &options.command {
        Command::Add(options) => add(options),
        Command::Passwd(options) => passwd(options),
        Command::Owners(options) => owners(options),
        Command::Remove(options) => remove(options),
        Command::List(options) => list(options),
    }
}

fn add(options: &AddOptions) -> Result<(), Failure> {
    let AddOptions { name, owner, .. } = options;
    if name.as_str() == "guest" {
        return Err(Failure::Usage(
            "guest is the account that every RabbitMQ has; accepted is any other name.".to_owned(),
        ));
    }
    let (client, vhost) = (options.broker.client()?, &options.broker.vhost);
    if client.account(name.as_str())?.is_some() {
        return Err(Failure::Configuration(format!(
            "there is an account {name} already; bugzfeed pulse user passwd gives it a new password."
        )));
    }
    let file = options.password.password_file.as_deref();
    secret::must_be_new(file)?;
    let password = NewPassword::make(file)?;
    // The owners first: an account that nobody answers for is worse than a note without an account.
    client.set_record(
        name,
        &Record {
            owners: owner.clone(),
        },
    )?;
    client.set_account(name.as_str(), password.text(), &[])?;
    client.set_rights(vhost, name.as_str(), &name.rights())?;
    let left = Belongings::of(name, &client, vhost)?;
    for (kind, thing) in left.all() {
        eprintln!("bugzfeed: the {kind} {thing} was there before, and is {name}'s now");
    }
    password.tell()
}

fn passwd(options: &PasswdOptions) -> Result<(), Failure> {
    let client = options.broker.client()?;
    let account = existing(&client, &options.name)?;
    let password = NewPassword::make(options.password.password_file.as_deref())?;
    client.set_account(&account.name, password.text(), &account.tags)?;
    password.tell()
}

fn owners(options: &OwnersOptions) -> Result<(), Failure> {
    let client = options.broker.client()?;
    existing(&client, &options.name)?;
    let record = Record {
        owners: options.owners.clone(),
    };
    Ok(client.set_record(&options.name, &record)?)
}

fn remove(options: &RemoveOptions) -> Result<(), Failure> {
    let RemoveOptions { name, purge, .. } = options;
    let (client, vhost) = (options.broker.client()?, &options.broker.vhost);
    existing(&client, name)?;
    client.delete_account(name.as_str())?;
    say(&format!("deleted: the account {name}"));
    let left = Belongings::of(name, &client, vhost)?;
    for (kind, thing) in left.all() {
        if !purge {
            say(&format!("stays behind: the {kind} {thing}"));
            continue;
        }
        match kind {
            "queue" => client.delete_queue(vhost, thing)?,
            _ => client.delete_exchange(vhost, thing)?,
        };
        say(&format!("deleted: the {kind} {thing}"));
    }
    // Last, so that an attempt that has failed can be seen, and made again.
    client.delete_record(name)?;
    Ok(())
}

/// An account of a Pulse's users.
fn existing(client: &Client, name: &AccountName) -> Result<Account, Failure> {
    match client.account(name.as_str())? {
        None => Err(Failure::Configuration(format!(
            "there is no account {name}."
        ))),
        Some(account) if account.is_administrator() => Err(Failure::Configuration(format!(
            "{name} is an administrator, and no user of the Pulse; rabbitmqctl changes it."
        ))),
        Some(account) => Ok(account),
    }
}

/// What bears the name of an account.
struct Belongings {
    queues: Vec<String>,
    exchanges: Vec<String>,
}

impl Belongings {
    fn of(name: &AccountName, client: &Client, vhost: &str) -> Result<Self, Failure> {
        let named = |prefix: String, names: Vec<String>| {
            let of_theirs = |name: &String| name.starts_with(&prefix);
            names.into_iter().filter(of_theirs).collect()
        };
        let queues = client.queue_totals(vhost)?.into_iter().map(|it| it.name);
        let exchanges = client.exchanges(vhost)?.into_iter().map(|it| it.name);
        Ok(Self {
            queues: named(name.queues(), queues.collect()),
            exchanges: named(name.exchanges(), exchanges.collect()),
        })
    }

    /// Kind and name of each.
    fn all(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let queues = self.queues.iter().map(|name| ("queue", name.as_str()));
        let exchanges = self.exchanges.iter();
        queues.chain(exchanges.map(|name| ("exchange", name.as_str())))
    }
}

/// A line of the list.
#[derive(Debug, Serialize)]
struct Row {
    user: String,
    queues: u64,
    messages: u64,
    connections: u64,
    owners: Vec<String>,
}

fn list(options: &ListOptions) -> Result<(), Failure> {
    let (client, vhost) = (options.broker.client()?, &options.broker.vhost);
    let mut records = client.records()?;
    let mut rows: BTreeMap<String, Row> = client
        .accounts()?
        .into_iter()
        .filter(|account| !account.is_administrator())
        .map(|Account { name, .. }| {
            let row = Row {
                owners: records.remove(&name).unwrap_or_default().owners,
                user: name.clone(),
                queues: 0,
                messages: 0,
                connections: 0,
            };
            (name, row)
        })
        .collect();
    for queue in client.queue_totals(vhost)? {
        let owner = AccountName::of_queue(&queue.name);
        if let Some(row) = owner.and_then(|owner| rows.get_mut(owner.as_str())) {
            row.queues += 1;
            row.messages = row.messages.saturating_add(queue.messages.unwrap_or(0));
        }
    }
    for connection in client.connections()? {
        if let Some(row) = connection.user.and_then(|user| rows.get_mut(&user)) {
            row.connections += 1;
        }
    }
    let rows: Vec<Row> = rows.into_values().collect();
    if options.json {
        say(&serde_json::to_string_pretty(&rows).expect("texts and numbers are always JSON"));
    } else {
        table(&rows).iter().for_each(|line| say(line));
    }
    Ok(())
}

/// The rows as lines, in columns as wide as they must be.
fn table(rows: &[Row]) -> Vec<String> {
    let width = rows
        .iter()
        .map(|row| row.user.len())
        .max()
        .unwrap_or(0)
        .max(4);
    let line = |user: &str, queues: &str, messages: &str, connections: &str, owners: &str| {
        let line =
            format!("{user:width$}  {queues:>6}  {messages:>9}  {connections:>11}  {owners}");
        line.trim_end().to_owned()
    };
    let header = line("user", "queues", "messages", "connections", "owners");
    let rows = rows.iter().map(|row| {
        line(
            &row.user,
            &row.queues.to_string(),
            &row.messages.to_string(),
            &row.connections.to_string(),
            &row.owners.join(" "),
        )
    });
    std::iter::once(header).chain(rows).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_has_columns() {
        let row = Row {
            user: "long-name".to_owned(),
            queues: 2,
            messages: 12_345,
            connections: 1,
            owners: vec!["a@example.org".to_owned(), "b@example.org".to_owned()],
        };
        assert_eq!(
            table(&[row]),
            [
                "user       queues   messages  connections  owners",
                "long-name       2      12345            1  a@example.org b@example.org",
            ]
        );
    }
}
