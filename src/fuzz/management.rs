//! What RabbitMQ's management API answers, beside the same values as serde_json knows them: objects of
//! each kind, whoever has written them.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::management::{Account, Permission, Policy, Queue, Record, words};
use crate::pulse::{AccountName, Exempts, Rights};

/// An object of the broker's, or what it says where it refuses.
pub(super) fn management(input: &[u8]) {
    assert!(!words(input).contains(char::is_control));
    check_same::<Policy>(input);
    check_same::<Rights>(input);
    check_same::<Record>(input);
    if let Some(exempts) = check_same::<Exempts>(input) {
        check_exempts(exempts);
    }
    let Ok(value) = serde_json::from_slice::<Value>(input) else {
        return;
    };
    if let Ok(queue) = serde_json::from_slice::<Queue>(input)
        && value.is_object()
    {
        check_queue(&queue, &value);
    }
    if let Ok(account) = serde_json::from_slice::<Account>(input) {
        let has = |tag: &str| account.tags.contains(&tag.to_owned());
        assert_eq!(account.is_administrator(), has("administrator"));
    }
    if let Ok(permission) = serde_json::from_slice::<Permission>(input) {
        check_rights(&permission);
    }
}

/// What is kept on the broker is the same when it is read again.
fn check_same<T>(input: &[u8]) -> Option<T>
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let read: T = serde_json::from_slice(input).ok()?;
    let written = serde_json::to_vec(&read).unwrap();
    assert_eq!(
        serde_json::from_slice::<T>(&written).as_ref().ok(),
        Some(&read)
    );
    Some(read)
}

/// What is added is covered, and what is taken away is not.
fn check_exempts(mut exempts: Exempts) {
    let own = "fuzz".parse().unwrap();
    exempts.change(std::slice::from_ref(&own), &[]);
    assert!(exempts.covers("queue/fuzz/one"));
    let expression = exempts.expression().expect("one is exempt");
    assert!(expression.contains("queue/fuzz/"), "{expression}");
    exempts.change(&[], &[own]);
    let others = serde_json::to_value(&exempts).unwrap();
    let mut others = others.as_array().unwrap().iter();
    let is_named = others.any(|name| name == "queue/fuzz/one");
    assert_eq!(exempts.covers("queue/fuzz/one"), is_named, "{exempts}");
}

/// A count is no smaller than its parts, and a bound is one that stands there.
fn check_queue(queue: &Queue, value: &Value) {
    let count = |name: &str| value["message_stats"][name].as_u64();
    let parts = ["ack", "deliver_no_ack", "get_no_ack"].map(count);
    let largest = parts.iter().flatten().max();
    assert!(queue.taken().unwrap_or(0) >= largest.copied().unwrap_or(0));
    let stands = |it: &Value, name: &str| it.as_object().is_some_and(|it| it.contains_key(name));
    let is_bounded = ["max-length", "max-length-bytes"].iter().any(|name| {
        stands(&value["effective_policy_definition"], name)
            || stands(&value["arguments"], &format!("x-{name}"))
    });
    assert_eq!(queue.is_bounded(), is_bounded);
    if let Some(owner) = AccountName::of_queue(&queue.name) {
        assert!(queue.name.starts_with(&owner.queues()));
    }
}

/// An account's own rights are lawful. Others' are not, nor what does not say where it begins.
fn check_rights(permission: &Permission) {
    let Ok(account) = permission.user.parse::<AccountName>() else {
        return;
    };
    let (own, rights) = (account.rights(), &permission.rights);
    assert!(own.is_within(&own) && !Rights::all().is_within(&own));
    if !rights.is_within(&own) {
        return;
    }
    for expression in [&rights.configure, &rights.write, &rights.read] {
        let names_own = expression.contains(&format!("/{}/", account.escaped()));
        let is_exchange = expression.contains("exchange/") && expression == &rights.read;
        let matches_nothing = matches!(&expression[..], "" | "^$");
        assert!(names_own || is_exchange || matches_nothing, "{expression}");
        assert!(
            matches_nothing || expression.starts_with('^'),
            "{expression}"
        );
    }
    for part in rights.read.split(['|', '(', '^']) {
        // Zero slashes are less than the name of an exchange.
        assert!(!part.starts_with("exchange/*"), "{part}");
    }
}
