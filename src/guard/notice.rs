//! What the guard tells people, in words and for programs. Knows no mail and no webhook.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Event {
    /// A queue holds too much.
    Overgrowing,
    /// A queue that was warned of holds no more than it may.
    Normal,
    /// A queue was deleted.
    Deleted,
    /// A queue has no name that a Pulse knows.
    Nameless,
    /// The broker cannot be asked.
    Unreachable,
    /// The broker can be asked again.
    Reachable,
}

/// Something to be told to somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Notice {
    pub(super) event: Event,
    /// The queue, or the broker.
    pub(super) subject: String,
    /// What there is to say beside it: how many messages, or why.
    pub(super) detail: String,
    /// Mail addresses of those whom it concerns.
    pub(super) to: Vec<String>,
    /// When it happened, in Unix seconds.
    pub(super) at: i64,
}

/// Why something was not told.
#[derive(Debug)]
pub(super) enum TellError {
    /// It would be refused again.
    Refused(String),
    /// It may be told later.
    Failed(String),
}

impl Notice {
    /// The line for the log, and the subject of the mail. The words are those that Mozilla's Pulse
    /// has used, since people filter by them.
    pub(super) fn title(&self) -> String {
        let subject = &self.subject;
        match self.event {
            Event::Overgrowing => format!("Pulse warning: queue \"{subject}\" is overgrowing"),
            Event::Normal => format!("Pulse warning: queue \"{subject}\" is back to normal"),
            Event::Deleted => format!("Pulse warning: queue \"{subject}\" has been deleted"),
            Event::Nameless => format!("Pulse warning: queue \"{subject}\" has no lawful name"),
            Event::Unreachable => format!("Pulse warning: {subject} cannot be reached"),
            Event::Reachable => format!("Pulse warning: {subject} can be reached again"),
        }
    }

    /// The text of the mail.
    pub(super) fn text(&self) -> String {
        let advice = match self.event {
            Event::Overgrowing => {
                "Please see to it that its consumer runs, and is fast enough. A queue that nobody reads may be deleted by its owner."
            }
            Event::Deleted => {
                "What it held is lost. A consumer that declares it anew gets what is published from then on."
            }
            Event::Nameless => {
                "Lawful names are queue/ACCOUNT/NAME, of an account that exists. It is left alone."
            }
            Event::Normal | Event::Unreachable | Event::Reachable => "",
        };
        let detail = &self.detail;
        [&*self.title(), detail, advice]
            .into_iter()
            .filter(|part| !part.is_empty())
            .map(|part| format!("{part}\r\n"))
            .collect::<Vec<_>>()
            .join("\r\n")
    }

    /// What a webhook is posted.
    pub(super) fn body(&self) -> Value {
        json!({
            "event": self.event, "subject": self.subject, "detail": self.detail,
            "to": self.to, "time": self.at, "text": self.title(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_those_that_people_filter_by() {
        let mut notice = Notice {
            event: Event::Overgrowing,
            subject: "queue/u/q".to_owned(),
            detail: "It holds 2001 messages.".to_owned(),
            to: vec!["u@example.org".to_owned()],
            at: 7,
        };
        assert_eq!(
            notice.title(),
            r#"Pulse warning: queue "queue/u/q" is overgrowing"#
        );
        assert!(notice.text().contains("\r\nIt holds 2001 messages.\r\n"));
        assert_eq!(notice.body()["event"], "overgrowing");
        for (event, words) in [
            (Event::Deleted, "has been deleted"),
            (Event::Normal, "is back to normal"),
        ] {
            notice.event = event;
            assert_eq!(
                notice.title(),
                format!(r#"Pulse warning: queue "queue/u/q" {words}"#)
            );
        }
    }
}
