//! What Bugzilla answers when it is asked: lists of bugs over REST and JSON-RPC, and who sees which
//! bug, in XML and JSON. Beside the same values as serde_json knows them, and lists that are written
//! from the same bytes.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::script::Script;
use crate::access::Said;
use crate::bugzilla::rest::answer::{Bugs, Form, result};
use crate::bugzilla::{said_in_json, said_in_xml};
use crate::update::{BugId, Update, When};

const FORMS: [Form; 2] = [Form::Rest, Form::JsonRpc];

/// The answer to a search.
pub(super) fn bug_lists(input: &[u8]) {
    let value = serde_json::from_slice(input).ok();
    for (form, is_public_only) in FORMS.map(|form| [(form, false), (form, true)]).concat() {
        match (found(input, form, is_public_only), &value) {
            (Ok(found), Some(value)) => {
                assert_eq!(Some(found), expected(value, form, is_public_only));
            }
            (Ok(_), None) => {}
            (Err(why), _) => assert!(!why.contains(char::is_control), "{why:?}"),
        }
    }
    check_written_list(&mut Script(input));
}

fn found(body: &[u8], form: Form, is_public_only: bool) -> Result<Vec<Update>, String> {
    let bugs = result::<Bugs>(body, form)?;
    Ok(bugs.updates(is_public_only).collect())
}

/// What a field of an object is; serde takes a list of all fields for one, too.
fn field<'a>(value: &'a Value, name: &str, index: usize) -> Option<&'a Value> {
    value.get(name).or_else(|| value.get(index))
}

/// The list that an answer holds, by its value.
fn expected(value: &Value, form: Form, is_public_only: bool) -> Option<Vec<Update>> {
    let list = match form {
        Form::Rest => value,
        Form::JsonRpc => {
            let error = field(value, "error", 1);
            assert!(error.is_none_or(Value::is_null), "an error is no result");
            field(value, "result", 0)?
        }
    };
    let bugs = field(list, "bugs", 0)?.as_array()?.iter();
    let shown = bugs.filter(|bug| {
        let groups = field(bug, "groups", 2).and_then(Value::as_array);
        !is_public_only || groups.is_some_and(Vec::is_empty)
    });
    Some(shown.filter_map(update).collect())
}

/// Nothing for a bug or a time that does not exist.
fn update(bug: &Value) -> Option<Update> {
    let number = field(bug, "id", 0)?.as_u64()?;
    let when: When = field(bug, "last_change_time", 1)?.as_str()?.parse().ok()?;
    Some(Update {
        bug: BugId::new(u32::try_from(number).ok()?)?,
        when: When::from_unix_seconds(when.unix_seconds()),
    })
}

/// What is written as Bugzilla writes it is read, all of it and in its order.
fn check_written_list(script: &mut Script<'_>) {
    let (mut bugs, mut all, mut public) = (Vec::new(), Vec::new(), Vec::new());
    while !script.is_over() {
        let (number, seconds) = (script.number() as u32 + 1, script.number() as i64 * 70_000);
        let update = Update {
            bug: BugId::new(number).unwrap(),
            when: When::from_unix_seconds(seconds),
        };
        let mut bug = json!({"id": number, "last_change_time": format!("{}Z", update.when)});
        let groups = [json!(null), json!([]), json!(["core-security"])];
        match script.byte() % 4 {
            3 => {}
            kind => bug["groups"] = groups[usize::from(kind)].clone(),
        }
        if bug["groups"] == json!([]) {
            public.push(update.clone());
        }
        all.push(update);
        bugs.push(bug);
    }
    for form in FORMS {
        let mut answer = json!({"bugs": bugs, "faults": []});
        if form == Form::JsonRpc {
            answer = json!({"error": null, "id": 1, "result": answer});
        }
        let answer = answer.to_string();
        let found = |is_public_only| found(answer.as_bytes(), form, is_public_only);
        assert_eq!(found(false).as_ref(), Ok(&all));
        assert_eq!(found(true).as_ref(), Ok(&public));
        let refused = r#"{"error": {"code": 300, "message": "No."}, "result": {"bugs": []}}"#;
        assert!(result::<Bugs>(refused.as_bytes(), Form::JsonRpc).is_err());
    }
}

/// Who sees which bug.
pub(super) fn rights(input: &[u8]) {
    check_xml(input);
    check_written_xml(&mut Script(input));
    if let Ok(Said::Sees(seen)) = said_in_json(input)
        && let Ok(value) = serde_json::from_slice::<Value>(input)
    {
        let bugs = field(&value, "result", 0).and_then(|found| field(found, "bugs", 0));
        let bugs = bugs.and_then(Value::as_array).unwrap().iter();
        let bugs = bugs.filter_map(|bug| {
            let number = field(bug, "id", 0)?.as_u64()?;
            BugId::new(u32::try_from(number).ok()?)
        });
        assert_eq!(seen, bugs.collect::<Vec<_>>());
        assert!(field(&value, "error", 1).is_none_or(Value::is_null));
    }
}

/// Nobody in particular never sees more than somebody, a beginning never says more than the whole, and
/// a bug that is not permitted is not seen.
fn check_xml(input: &[u8]) {
    let whole = said_in_xml(input, false);
    match said_in_xml(input, true) {
        Ok(Said::Stranger) => {}
        said => assert_eq!(said, whole),
    }
    for at in 1..12 {
        let piece = &input[..input.len() * at / 12];
        if let Ok(Said::Sees(seen)) = said_in_xml(piece, false) {
            assert_eq!(Ok(Said::Sees(seen)), whole);
        }
    }
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let broken = text.replace("</bug_id>", "<!-- --></bug_id>");
    if let Ok(Said::Sees(seen)) = said_in_xml(broken.as_bytes(), false)
        && text.matches("</bug_id").count() == text.matches("</bug_id>").count()
    {
        assert_eq!(seen, [], "a number is nothing but digits");
    }
    let denied = text.replace("<bug>", "<bug error=\"NotPermitted\">");
    let has_other = text.contains(['\t', '\n', '\r']) || text.contains("<bug ");
    if let (Ok(Said::Sees(seen)), false) = (said_in_xml(denied.as_bytes(), false), has_other) {
        assert_eq!(seen, []);
    }
}

/// A list with bugs that are seen, bugs that are not, and other things between and in them.
fn check_written_xml(script: &mut Script<'_>) {
    const NOISE: [&str; 6] = [
        "\n  ",
        "<!-- <bug><bug_id>1</bug_id></bug> -->",
        "<![CDATA[<bug><bug_id>1</bug_id></bug>]]>",
        "<other><bug_id>1</bug_id></other>",
        "<bug_id>1</bug_id>",
        "<bug/>",
    ];
    let is_somebody = script.byte() & 1 == 1;
    let exporter = if is_somebody { " exporter='a@b'" } else { "" };
    let mut text = format!("<?xml version='1.0'?>\n<bugzilla{exporter}>");
    let mut expected = Vec::new();
    while !script.is_over() {
        let (kind, number) = (script.byte(), script.number() as u32 + 2);
        text.push_str(NOISE[usize::from(kind >> 4) % NOISE.len()]);
        let _ = match kind % 6 {
            0 | 1 => write!(text, "<bug>\n<bug_id>{number}</bug_id> </bug>"),
            2 => write!(
                text,
                "<bug error='NotFound'><bug_id>{number}</bug_id></bug>"
            ),
            3 => write!(text, "<bug><x><bug_id>{number}</bug_id></x></bug>"),
            4 => write!(text, "<bug error=\"NotPermitted\" />"),
            _ => write!(
                text,
                "<bug><y/><bug_id> {number}\n</bug_id><z>{number}</z></bug>"
            ),
        };
        if matches!(kind % 6, 0 | 1 | 5) {
            expected.push(BugId::new(number).unwrap());
        }
    }
    let cut = text.len();
    text.push_str("</bugzilla>");
    let said = Ok(Said::Sees(expected));
    assert_eq!(said_in_xml(text.as_bytes(), false), said, "{text}");
    let to_somebody = if is_somebody {
        said
    } else {
        Ok(Said::Stranger)
    };
    assert_eq!(said_in_xml(text.as_bytes(), true), to_somebody);
    assert!(said_in_xml(&text.as_bytes()[..cut], false).is_err());
}
