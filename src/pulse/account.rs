//! Who may do what on a Pulse: an account may make, fill and empty what bears its own name, and
//! read all exchanges. The rules are those of PulseGuardian, which managed Mozilla's. Knows no
//! password.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The exchanges that Bugzilla's changes go to: of production, and of the test installation.
pub(crate) const EXCHANGES: [&str; 2] = ["exchange/bugzilla/simple", "exchange/bugzilla/dev"];

/// The longest name, in bytes: half of what AMQP can carry, so that a queue's own name has the rest.
const NAME_BYTES_MAX: usize = 128;

/// The name of an account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct AccountName(String);

impl AccountName {
    /// What the names of its queues begin with.
    pub(crate) fn queues(&self) -> String {
        format!("queue/{}/", self.0)
    }

    /// What the names of its exchanges begin with.
    pub(crate) fn exchanges(&self) -> String {
        format!("exchange/{}/", self.0)
    }

    /// The name as a regular expression of RabbitMQ's that matches nothing else.
    pub(crate) fn escaped(&self) -> String {
        // Of what a name may hold, only the dot means something else there.
        self.0.replace('.', r"\.")
    }

    /// What the account may do.
    pub(crate) fn rights(&self) -> Rights {
        let name = self.escaped();
        let own = format!("^(queue/{name}/.*|exchange/{name}/.*)$");
        Rights {
            configure: own.clone(),
            write: own,
            read: format!("^(queue/{name}/.*|exchange/.*)$"),
        }
    }

    /// The name as it stands.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The account that a queue belongs to by its name, `queue/NAME/…`.
    pub(crate) fn of_queue(queue: &str) -> Option<Self> {
        let (name, rest) = queue.strip_prefix("queue/")?.split_once('/')?;
        if rest.is_empty() {
            return None;
        }
        name.parse().ok()
    }
}

impl FromStr for AccountName {
    type Err = String;

    /// Reads a name by PulseGuardian's rule, `^[a-zA-Z][a-zA-Z0-9._-]*$`.
    fn from_str(text: &str) -> Result<Self, String> {
        let is_lawful = text.starts_with(|first: char| first.is_ascii_alphabetic())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if !is_lawful {
            return Err(format!(
                "'{text}' is no name of an account; accepted are a letter and then letters, digits, '.', '_' and '-'"
            ));
        }
        if text.len() > NAME_BYTES_MAX {
            return Err(format!(
                "the name is longer than {NAME_BYTES_MAX} characters"
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An account's permissions in a virtual host: regular expressions of the names that it may
/// declare, write to and read from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rights {
    pub(crate) configure: String,
    pub(crate) write: String,
    pub(crate) read: String,
}

impl Rights {
    /// All that there is: an administrator's.
    pub(crate) fn all() -> Self {
        let all = ".*".to_owned();
        Self {
            configure: all.clone(),
            write: all.clone(),
            read: all,
        }
    }

    /// Whether each of these is one of `lawful`'s, or a part of it. What is written in another way
    /// counts as more, whatever it matches.
    pub(crate) fn is_within(&self, lawful: &Self) -> bool {
        is_part(&self.configure, &lawful.configure)
            && is_part(&self.write, &lawful.write)
            && is_part(&self.read, &lawful.read)
    }
}

/// Whether the alternatives of an expression `^(A|B)$` are among those of another. The last `$` may
/// be missing, since each of them ends with `.*`.
fn is_part(expression: &str, of: &str) -> bool {
    let Some(mut parts) = alternatives(expression) else {
        // RabbitMQ takes an empty expression for one that matches the empty name alone.
        return matches!(expression, "" | "^$");
    };
    let lawful = alternatives(of).unwrap_or_default();
    parts.all_in(&lawful)
}

/// The alternatives of an expression.
#[derive(Default)]
struct Alternatives<'a>(Vec<&'a str>);

impl Alternatives<'_> {
    fn all_in(&mut self, others: &Alternatives<'_>) -> bool {
        self.0.iter().all(|part| {
            others
                .0
                .iter()
                // Whoever may read all exchanges may read some.
                .any(|other| part == other || (*other == "exchange/.*" && is_some_exchange(part)))
        })
    }
}

/// Whether an alternative matches names of exchanges only: plain text behind `exchange/`, and then
/// anything.
fn is_some_exchange(part: &str) -> bool {
    // A '*' behind it would take back its slash.
    part.strip_prefix("exchange/").is_some_and(|rest| {
        !rest.starts_with('*') && !rest.contains(['|', '(', ')', '?', '[', '{'])
    })
}

fn alternatives(expression: &str) -> Option<Alternatives<'_>> {
    let inner = expression.strip_prefix('^')?;
    let inner = inner.strip_suffix('$').unwrap_or(inner);
    let inner = match inner.strip_prefix('(') {
        Some(inner) => inner.strip_suffix(')')?,
        // Without parentheses, the '^' would belong to the first alternative alone.
        None if inner.contains('|') => return None,
        None => inner,
    };
    (!inner.is_empty()).then(|| Alternatives(inner.split('|').collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(name: &str) -> AccountName {
        name.parse().unwrap()
    }

    #[test]
    fn a_name_begins_with_a_letter_and_holds_nothing_that_a_path_or_a_shell_reads() {
        for name in ["a", "Bug-Zilla_2.0", "z9", "a.b"] {
            assert_eq!(account(name).to_string(), name);
        }
        for name in [
            "", "1a", ".a", "_a", "-a", "a b", "a/b", "a*", "é", "aé", "a\n", "a:b",
        ] {
            name.parse::<AccountName>().unwrap_err();
        }
        "a".repeat(NAME_BYTES_MAX).parse::<AccountName>().unwrap();
        "a".repeat(NAME_BYTES_MAX + 1)
            .parse::<AccountName>()
            .unwrap_err();
    }

    #[test]
    fn rights_are_those_of_pulse_guardian_with_the_name_escaped() {
        assert_eq!(
            account("a.b-c").rights(),
            Rights {
                configure: r"^(queue/a\.b-c/.*|exchange/a\.b-c/.*)$".to_owned(),
                write: r"^(queue/a\.b-c/.*|exchange/a\.b-c/.*)$".to_owned(),
                read: r"^(queue/a\.b-c/.*|exchange/.*)$".to_owned(),
            }
        );
    }

    #[test]
    fn a_queue_belongs_to_the_account_that_its_name_names() {
        for (queue, owner) in [
            ("queue/u/q", Some("u")),
            ("queue/u/q/r", Some("u")),
            ("queue/u/", None),
            ("queue/u", None),
            ("queue//q", None),
            ("queue/1/q", None),
            ("exchange/u/q", None),
            ("xqueue/u/q", None),
            ("", None),
        ] {
            let found = AccountName::of_queue(queue);
            assert_eq!(found.as_ref().map(AccountName::as_str), owner, "{queue}");
        }
    }

    #[test]
    fn rights_are_within_others_when_each_alternative_is_one_of_theirs() {
        let lawful = account("u.v").rights();
        let own = r"^(queue/u\.v/.*|exchange/u\.v/.*)$";
        for (expression, is_within) in [
            (own, true),
            (r"^(queue/u\.v/.*|exchange/u\.v/.*)", true),
            (r"^queue/u\.v/.*$", true),
            (r"^(exchange/u\.v/.*)", true),
            ("", true),
            ("^$", true),
            (".*", false),
            ("^.*$", false),
            (r"queue/u\.v/.*", false),
            (r"^queue/u.v/.*$", false),
            (r"^queue/u\.v/.*|exchange/.*$", false),
            (r"^(queue/u\.v/.*|exchange/.*)$", false),
            (r"^(queue/u\.v/.*|)$", false),
            (r"^(queue/u\.v/.*|exchange/u\.v/.*|amq\..*)$", false),
        ] {
            let rights = Rights {
                configure: expression.to_owned(),
                ..lawful.clone()
            };
            assert_eq!(rights.is_within(&lawful), is_within, "{expression}");
        }
        for (expression, is_within) in [
            (r"^(queue/u\.v/.*|exchange/.*)$", true),
            (r"^exchange/bugzilla/.*", true),
            (r"^(queue/.*|exchange/.*)$", false),
            (r"^exchange/a?.*", false),
            (r"^exchange/*.*", false),
        ] {
            let rights = Rights {
                read: expression.to_owned(),
                ..lawful.clone()
            };
            assert_eq!(rights.is_within(&lawful), is_within, "{expression}");
        }
    }
}
