//! How messages stand in what a client gets: as WebSocket frames, or as server-sent events, which are
//! lines of text (the HTML standard, section 9.2). Knows no client and no socket.

use crate::frame;
use crate::update::When;

/// How a client gets its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// As text messages of a WebSocket.
    Frames,
    /// As server-sent events.
    Events,
}

impl Encoding {
    /// Writes a message.
    pub(crate) fn write(self, output: &mut Vec<u8>, text: &[u8]) {
        match self {
            Encoding::Frames => frame::write_text(output, text),
            Encoding::Events => write_event(output, text),
        }
    }

    /// Writes what makes the client, or what is between, notice that the connection lives: a ping, or
    /// a comment.
    pub(crate) fn write_ping(self, output: &mut Vec<u8>) {
        match self {
            Encoding::Frames => frame::write_ping(output),
            Encoding::Events => output.extend_from_slice(b":\n\n"),
        }
    }

    /// Writes why the server ends the connection, with a code and a reason of at most 123 bytes. To
    /// events, the end of the stream follows, after which a browser comes back by itself.
    pub(crate) fn write_close(self, output: &mut Vec<u8>, code: u16, reason: &'static str) {
        match self {
            Encoding::Frames => frame::write_close(output, code, reason),
            Encoding::Events => {
                output.extend_from_slice(format!(": {code} {reason}\n\n").as_bytes());
            }
        }
    }
}

/// Writes a message as an event: an update as one without a name, a reply with the name of its
/// command. A message holds no line break.
fn write_event(output: &mut Vec<u8>, text: &[u8]) {
    if !text.starts_with(br#"{"command":"update""#) {
        output.extend_from_slice(b"event: subscribe\n");
    }
    if let Some(id) = id_of(text) {
        output.extend_from_slice(b"id: ");
        output.extend_from_slice(id);
        output.push(b'\n');
    }
    output.extend_from_slice(b"data: ");
    output.extend_from_slice(text);
    output.extend_from_slice(b"\n\n");
}

/// From where on a client that has seen this message resumes: the time with which an update, and a
/// reply with a watermark, ends. The time of the last update may be older than that of another: then
/// more comes again than has to.
fn id_of(text: &[u8]) -> Option<&[u8]> {
    if text.ends_with(br#""watermark":null}"#) {
        return Some(b"1970-01-01T00:00:00");
    }
    let last = text.strip_suffix(br#""}"#)?;
    let start = last.iter().rposition(|&byte| byte == b'"')? + 1;
    let id = std::str::from_utf8(&last[start..]).ok()?;
    id.parse::<When>().is_ok().then_some(id.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(text: &str) -> String {
        let mut output = Vec::new();
        Encoding::Events.write(&mut output, text.as_bytes());
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn an_event_has_the_time_as_its_id_from_which_its_reader_resumes() {
        let update = r#"{"command":"update","bug":5,"when":"2014-04-03T21:13:45"}"#;
        assert_eq!(
            event(update),
            format!("id: 2014-04-03T21:13:45\ndata: {update}\n\n")
        );
        let reply = r#"{"command":"subscribe","result":"ok","bugs":[5]"#;
        for (rest, id) in [
            (
                r#","watermark":"2014-04-03T21:13:45"}"#,
                "id: 2014-04-03T21:13:45\n",
            ),
            (r#","watermark":null}"#, "id: 1970-01-01T00:00:00\n"),
            (r#","complete":false}"#, ""),
            (r#","error":"invalid JSON"}"#, ""),
        ] {
            let text = format!("{reply}{rest}");
            assert_eq!(
                event(&text),
                format!("event: subscribe\n{id}data: {text}\n\n")
            );
        }
    }
}
