//! Whether a server can take clients, for a balancer.

use super::Snapshot;
use crate::metrics::SourceState;

/// Whether a server can take clients, and why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Readiness {
    Ready,
    /// It serves those who are in, and has no place for others.
    Full,
    /// It goes away.
    Draining,
    /// Clients would miss updates.
    Broken,
}

impl Readiness {
    /// The word for it: the value of the header field `Bugzfeed-State`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Readiness::Ready => "ready",
            Readiness::Full => "full",
            Readiness::Draining => "draining",
            Readiness::Broken => "broken",
        }
    }
}

impl Snapshot<'_> {
    /// Whether the server can take clients, and a line for each reason why not, which begins with
    /// the word for it.
    pub(crate) fn readiness(&self) -> (Readiness, String) {
        let mut reasons = Vec::new();
        for feed in &self.feeds {
            let (path, source) = (feed.path, feed.source);
            let why = match feed.state {
                SourceState::Reading => None,
                SourceState::Starting => Some("it has not been reached yet"),
                SourceState::Failing(why) => Some(why.as_str()),
            };
            if let Some(why) = why {
                // An error of somebody else's may be of several lines.
                let why = why.replace(char::is_control, " ");
                reasons.push((
                    Readiness::Broken,
                    format!("the source of {path}, {source}: {why}"),
                ));
            }
            if !feed.is_keeping {
                let why = format!("the history of {path} cannot be written");
                reasons.push((Readiness::Broken, why));
            }
        }
        if self.is_draining {
            reasons.push((Readiness::Draining, "the server is going away".to_owned()));
        }
        if self.is_memory_short {
            reasons.push((Readiness::Full, "memory is short".to_owned()));
        }
        if self.open >= self.connections_max {
            let (open, most) = (self.open, self.connections_max);
            reasons.push((Readiness::Full, format!("{open} of {most} connections")));
        }
        let readiness = reasons.iter().map(|(readiness, _)| *readiness).max();
        let readiness = readiness.unwrap_or(Readiness::Ready);
        let lines = reasons
            .iter()
            .map(|(readiness, why)| format!("{}: {why}\n", readiness.word()));
        match readiness {
            Readiness::Ready => (readiness, "ready\n".to_owned()),
            Readiness::Full | Readiness::Draining | Readiness::Broken => {
                (readiness, lines.collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Parts;
    use super::*;

    #[test]
    fn a_server_is_ready_or_says_each_reason_why_not() {
        let mut parts = Parts::new();
        assert_eq!(
            parts.snapshot().readiness(),
            (Readiness::Ready, "ready\n".to_owned())
        );
        let mut snapshot = parts.snapshot();
        snapshot.open = 10;
        let full = (Readiness::Full, "full: 10 of 10 connections\n".to_owned());
        assert_eq!(snapshot.readiness(), full);
        snapshot.is_memory_short = true;
        snapshot.is_draining = true;
        let (readiness, lines) = snapshot.readiness();
        assert_eq!(readiness, Readiness::Draining);
        assert_eq!(
            lines,
            "draining: the server is going away\nfull: memory is short\nfull: 10 of 10 connections\n"
        );
        parts.state = SourceState::Failing("refused\nby it".to_owned());
        let mut snapshot = parts.snapshot();
        snapshot.feeds[0].is_keeping = false;
        snapshot.is_draining = true;
        let (readiness, lines) = snapshot.readiness();
        assert_eq!(readiness, Readiness::Broken);
        assert_eq!(
            lines,
            "broken: the source of /, sqlite:b.db: refused by it\n\
             broken: the history of / cannot be written\ndraining: the server is going away\n"
        );
        parts.state = SourceState::Starting;
        assert_eq!(parts.snapshot().readiness().0, Readiness::Broken);
    }
}
