//! What bugs are about, as far as the one who asks may see it.

use std::collections::HashMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::{Rest, Settings};
use crate::tls;
use crate::update::BugId;
use crate::work::Error;

/// What a bug is about.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Facts {
    /// One line.
    pub(crate) summary: String,
    /// Such as `NEW` or `RESOLVED FIXED`.
    pub(crate) status: String,
}

/// Somebody who can ask what bugs are about.
pub(crate) struct FactFinder {
    rest: Rest,
}

#[derive(Deserialize)]
struct Bugs {
    bugs: Vec<Bug>,
}

#[derive(Deserialize)]
struct Bug {
    id: u32,
    #[serde(default)]
    resolution: String,
    #[serde(flatten)]
    facts: Facts,
}

impl Settings {
    /// Somebody who asks this Bugzilla what bugs are about, and waits this long for an answer.
    ///
    /// # Errors
    /// When a file that the address names cannot be used.
    pub(crate) fn fact_finder(&self, patience: Duration) -> Result<FactFinder, String> {
        let agent = tls::http_agent(self.ca_file.as_deref(), &self.url, patience, patience)
            .map_err(|error| error.to_string())?;
        let rest = Rest {
            settings: self.clone(),
            agent,
            ahead: None,
        };
        Ok(FactFinder { rest })
    }

    /// The address of a bug's own page.
    pub(crate) fn bug_page(&self, bug: BugId) -> String {
        format!("{}show_bug.cgi?id={bug}", self.url)
    }
}

impl FactFinder {
    /// What is known of these bugs; those that may not be seen are left out.
    ///
    /// # Errors
    /// When Bugzilla does not answer, or refuses.
    pub(crate) fn find(&self, bugs: &[BugId]) -> Result<HashMap<BugId, Facts>, Error> {
        let ids: Vec<String> = bugs.iter().map(BugId::to_string).collect();
        let (found, _): (Bugs, i64) = self.rest.call(
            "rest/bug",
            "Bug.search",
            json!({"id": ids.join(","), "include_fields": "id,summary,status,resolution"}),
        )?;
        let facts = found.bugs.into_iter().filter_map(|bug| {
            let mut facts = bug.facts;
            if !bug.resolution.is_empty() {
                facts.status = format!("{} {}", facts.status, bug.resolution);
            }
            Some((BugId::new(bug.id)?, facts))
        });
        Ok(facts.collect())
    }
}
