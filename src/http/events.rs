//! Requests for server-sent events: what a client wants is in its address, and where it resumes, in
//! the field that browsers send by themselves. Knows no event.

use percent_encoding::percent_decode_str;
use serde_json::json;

use super::head::Head;
use super::{Origin, Refusal, response};

/// What a request for events asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct Events {
    /// The same as a command of the protocol.
    pub subscribe: Vec<u8>,
    /// Who may read the response, as whole lines of a head.
    pub(super) fields: String,
}

impl Events {
    /// Writes the head of the response; the events follow.
    pub fn write_head(&self, response: &mut Vec<u8>, unix_time: i64) {
        response::write_stream(response, &self.fields, unix_time);
    }
}

/// Reads a request for events. All origins are allowed when `origins` is empty; pages show their
/// cookies where these may count.
pub(super) fn read(
    head: &Head<'_, '_>,
    origins: &[Origin],
    has_credentials: bool,
) -> Result<Events, Refusal> {
    let is_allowed = |origin| origins.iter().any(|allowed| allowed.matches(origin));
    if !origins.is_empty() && !head.values("Origin").all(is_allowed) {
        return Err(Refusal::ForbiddenOrigin);
    }
    let bugs: Vec<String> = head.query_values("bugs").map(decoded).collect();
    if bugs.is_empty() {
        return Err(Refusal::BadRequest(
            "The address does not say which bugs: /events?bugs=1234,5678.",
        ));
    }
    let bugs: Vec<&str> = bugs
        .iter()
        .flat_map(|bugs| bugs.split(','))
        .filter(|bug| !bug.is_empty())
        .collect();
    // Where the client has come from before is newer than what its address says.
    let last = head.values("Last-Event-ID").next();
    let since = match last.filter(|last| !last.is_empty()) {
        Some(last) => String::from_utf8_lossy(last).into_owned(),
        None => head
            .query_values("since")
            .next()
            .map(decoded)
            .unwrap_or_default(),
    };
    let bugs = match bugs[..] {
        ["*"] => json!("*"),
        _ => json!(bugs),
    };
    let mut subscribe = json!({"command": "subscribe", "bugs": bugs});
    if since.is_empty() {
        subscribe["watermark"] = json!(true);
    } else {
        subscribe["since"] = json!(since);
    }
    Ok(Events {
        subscribe: subscribe.to_string().into_bytes(),
        fields: cors(
            head,
            has_credentials || !origins.is_empty(),
            has_credentials,
        ),
    })
}

/// Which pages may read the response: the one that asks, which is allowed to, or all of them.
fn cors(head: &Head<'_, '_>, names_origin: bool, with_credentials: bool) -> String {
    let origin = head.values("Origin").next();
    let origin = origin.and_then(|origin| std::str::from_utf8(origin).ok());
    match origin {
        Some(origin) if names_origin => {
            let credentials = match with_credentials {
                true => "Access-Control-Allow-Credentials: true\r\n",
                false => "",
            };
            format!("Access-Control-Allow-Origin: {origin}\r\n{credentials}Vary: Origin\r\n")
        }
        _ => "Access-Control-Allow-Origin: *\r\n".to_owned(),
    }
}

fn decoded(value: &str) -> String {
    percent_decode_str(value).decode_utf8_lossy().into_owned()
}
