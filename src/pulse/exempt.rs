//! Which queues the bound and the guard leave alone: single ones, and all of an account. Knows no
//! broker.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::AccountName;

/// An account, with all of its queues, or one queue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) enum Exempt {
    /// All queues of this account.
    Account(AccountName),
    /// The queue of this name.
    Queue(String),
}

impl Exempt {
    fn covers(&self, queue: &str) -> bool {
        match self {
            Exempt::Account(account) => queue.starts_with(&account.queues()),
            Exempt::Queue(name) => queue == name,
        }
    }

    /// An expression, as it stands behind a `^`, for the names that are covered.
    fn expression(&self) -> String {
        match self {
            Exempt::Account(account) => format!("queue/{}/", account.escaped()),
            Exempt::Queue(name) => {
                let mut expression = String::new();
                for c in name.chars() {
                    if c.is_ascii_punctuation() && !matches!(c, '/' | '_' | '-') {
                        expression.push('\\');
                    }
                    expression.push(c);
                }
                expression.push('$');
                expression
            }
        }
    }
}

impl FromStr for Exempt {
    type Err = String;

    /// Reads `NAME`, an account, or `queue/NAME/…`, a queue.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('/') {
            return match AccountName::of_queue(text) {
                Some(_) => Ok(Exempt::Queue(text.to_owned())),
                None => Err(format!(
                    "'{text}' is neither an account nor the name of a queue, queue/ACCOUNT/NAME"
                )),
            };
        }
        text.parse().map(Exempt::Account)
    }
}

impl TryFrom<String> for Exempt {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Exempt> for String {
    fn from(exempt: Exempt) -> Self {
        exempt.to_string()
    }
}

impl fmt::Display for Exempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exempt::Account(account) => account.fmt(f),
            Exempt::Queue(queue) => f.write_str(queue),
        }
    }
}

/// All that are exempt, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Exempts(Vec<Exempt>);

impl Default for Exempts {
    /// What the servers of a feed read: they bound their queues themselves, and know what falls out
    /// of them.
    fn default() -> Self {
        let servers = "bugzfeed".parse().expect("a lawful name");
        Self(vec![Exempt::Account(servers)])
    }
}

impl fmt::Display for Exempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.0.iter().map(Exempt::to_string).collect();
        match names.is_empty() {
            true => f.write_str("none"),
            false => f.write_str(&names.join(", ")),
        }
    }
}

impl Exempts {
    /// Whether a queue is exempt.
    pub(crate) fn covers(&self, queue: &str) -> bool {
        self.0.iter().any(|exempt| exempt.covers(queue))
    }

    /// Adds some and takes others away.
    pub(crate) fn change(&mut self, add: &[Exempt], remove: &[Exempt]) {
        self.0.extend_from_slice(add);
        self.0.retain(|exempt| !remove.contains(exempt));
        self.0.sort();
        self.0.dedup();
    }

    /// A regular expression of RabbitMQ's for the queues that are exempt; `None` where none is.
    pub(crate) fn expression(&self) -> Option<String> {
        let parts: Vec<String> = self.0.iter().map(Exempt::expression).collect();
        (!parts.is_empty()).then(|| format!("^({})", parts.join("|")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_or_a_queue_is_exempt_and_nothing_with_a_similar_name() {
        let mut exempts = Exempts::default();
        exempts.change(
            &["a.b".parse().unwrap(), "queue/u/q+1".parse().unwrap()],
            &[],
        );
        for (queue, is_exempt) in [
            ("queue/bugzfeed/one", true),
            ("queue/bugzfeedx/one", false),
            ("queue/a.b/q", true),
            ("queue/aXb/q", false),
            ("queue/u/q+1", true),
            ("queue/u/q+12", false),
            ("queue/u/qq1", false),
        ] {
            assert_eq!(exempts.covers(queue), is_exempt, "{queue}");
        }
        assert_eq!(
            exempts.expression().as_deref(),
            Some(r"^(queue/a\.b/|queue/bugzfeed/|queue/u/q\+1$)")
        );
        exempts.change(
            &[],
            &[
                "a.b".parse().unwrap(),
                "bugzfeed".parse().unwrap(),
                "queue/u/q+1".parse().unwrap(),
            ],
        );
        assert_eq!(exempts.expression(), None);
    }

    #[test]
    fn what_is_neither_an_account_nor_a_queue_is_refused() {
        for text in ["", "queue/u/", "exchange/u/x", "1", "queue/1/x"] {
            text.parse::<Exempt>().unwrap_err();
        }
    }
}
