//! What bugzfeed itself keeps on the broker, as RabbitMQ's global parameters: so it is in the
//! broker's own backup (`rabbitmqctl export_definitions`), and no second database has to be. One
//! parameter per account, so that two administrators at work do not undo each other's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::client::{Client, Error};
use crate::pulse::{AccountName, Exempts};

/// What is exempt from the bound.
const EXEMPT: &str = "bugzfeed-pulse-exempt";

/// What is known of an account; its name stands behind it.
const ACCOUNT: &str = "bugzfeed-pulse-account-";

/// What is known of an account beside what RabbitMQ itself knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The mail addresses of those who answer for it.
    pub(crate) owners: Vec<String>,
}

#[derive(Deserialize)]
struct Parameter {
    name: String,
    value: Value,
}

impl Client {
    /// Which queues are exempt from the bound; `None` where nobody has said so yet.
    pub(crate) fn exempts(&self) -> Result<Option<Exempts>, Error> {
        let parameter: Option<Parameter> = self.find(&["global-parameters", EXEMPT], "")?;
        let read = |parameter: Parameter| serde_json::from_value(parameter.value);
        parameter.map(read).transpose().map_err(|error| {
            Error::Refused(format!(
                "the broker's global parameter {EXEMPT} is no list of accounts and queues: {error}"
            ))
        })
    }

    /// Says which queues are exempt.
    pub(crate) fn set_exempts(&self, exempts: &Exempts) -> Result<(), Error> {
        self.set_parameter(EXEMPT, &json!(exempts))
    }

    /// What is known of all accounts.
    pub(crate) fn records(&self) -> Result<BTreeMap<String, Record>, Error> {
        let parameters: Vec<Parameter> = self.get(&["global-parameters"], "")?;
        let of_account = |parameter: Parameter| {
            let account = parameter.name.strip_prefix(ACCOUNT)?;
            // What somebody else has written there says nothing.
            let record = serde_json::from_value(parameter.value).unwrap_or_default();
            Some((account.to_owned(), record))
        };
        Ok(parameters.into_iter().filter_map(of_account).collect())
    }

    /// Notes what is known of an account.
    pub(crate) fn set_record(&self, account: &AccountName, record: &Record) -> Result<(), Error> {
        self.set_parameter(&format!("{ACCOUNT}{account}"), &json!(record))
    }

    /// Forgets an account.
    pub(crate) fn delete_record(&self, account: &AccountName) -> Result<bool, Error> {
        self.delete(&["global-parameters", &format!("{ACCOUNT}{account}")])
    }

    fn set_parameter(&self, name: &str, value: &Value) -> Result<(), Error> {
        let parameter = json!({"name": name, "value": value});
        self.put(&["global-parameters", name], &parameter)
    }
}
