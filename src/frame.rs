//! WebSocket frames on tungstenite's pieces: finds where a client's frame ends, and writes the
//! server's. Knows no client and no socket.

use std::io::Cursor;

use tungstenite::Error;
use tungstenite::error::{CapacityError, ProtocolError};
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, Frame, FrameHeader};

/// A complete frame at the start of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole {
    /// The length of header and payload, in bytes.
    pub bytes: usize,
    /// The length of the payload, in bytes.
    pub payload_bytes: usize,
    /// Whether a message is complete with this frame: false for a control frame, which belongs to
    /// none.
    pub ends_message: bool,
    /// Whether it is a ping, a pong or a close.
    pub is_control: bool,
    /// Whether it is a pong, which is never answered.
    pub is_pong: bool,
}

/// The longest payload of a ping, a pong or a close: RFC 6455 section 5.5.
pub(crate) const CONTROL_BYTES_MAX: usize = 125;

/// Finds the first frame of `input`; `None` when it is not complete. An invalid header is refused
/// before the payload has come: a client that does not mask would otherwise hold memory for a
/// payload that is refused anyway.
///
/// # Errors
/// When no more bytes can make it a valid frame of at most `payload_max` bytes.
pub fn find(input: &[u8], payload_max: usize) -> Result<Option<Whole>, Box<Error>> {
    let mut cursor = Cursor::new(input);
    let Some((header, payload)) = FrameHeader::parse(&mut cursor)? else {
        return Ok(None);
    };
    let payload = usize::try_from(payload).unwrap_or(usize::MAX);
    if payload > payload_max {
        return Err(Box::new(
            CapacityError::MessageTooLong {
                size: payload,
                max_size: payload_max,
            }
            .into(),
        ));
    }
    let is_control = matches!(header.opcode, OpCode::Control(_));
    if header.mask.is_none() {
        return Err(Box::new(ProtocolError::UnmaskedFrameFromClient.into()));
    }
    if header.rsv1 || header.rsv2 || header.rsv3 {
        return Err(Box::new(ProtocolError::NonZeroReservedBits.into()));
    }
    if is_control && payload > CONTROL_BYTES_MAX {
        return Err(Box::new(ProtocolError::ControlFrameTooBig.into()));
    }
    // A limit may be as large as numbers go.
    let bytes = payload.saturating_add(cursor.position() as usize);
    let is_pong = header.opcode == OpCode::Control(Control::Pong);
    let ends_message = header.is_final && !is_control;
    Ok((bytes <= input.len()).then_some(Whole {
        bytes,
        payload_bytes: payload,
        ends_message,
        is_control,
        is_pong,
    }))
}

/// Writes a text message. Its header is at most ten bytes.
pub fn write_text(output: &mut Vec<u8>, text: &[u8]) {
    write(output, OpCode::Data(Data::Text), text);
}

/// Writes a ping without payload.
pub(crate) fn write_ping(output: &mut Vec<u8>) {
    write(output, OpCode::Control(Control::Ping), &[]);
}

/// Writes a close with a code and a reason of at most 123 bytes.
pub fn write_close(output: &mut Vec<u8>, code: u16, reason: &'static str) {
    let close = CloseFrame {
        code: CloseCode::from(code),
        reason: reason.into(),
    };
    write(
        output,
        OpCode::Control(Control::Close),
        Frame::close(Some(close)).payload(),
    );
}

fn write(output: &mut Vec<u8>, opcode: OpCode, payload: &[u8]) {
    let header = FrameHeader {
        opcode,
        ..FrameHeader::default()
    };
    header
        .format(payload.len() as u64, output)
        .expect("a Vec takes all that is written to it");
    output.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found in the first bytes of a masked frame.
    fn find_in(bytes: &[u8]) -> Result<Option<Whole>, Box<Error>> {
        find(bytes, 1_000)
    }

    #[test]
    fn a_reserved_bit_is_refused_before_the_payload_has_come() {
        assert!(matches!(find_in(&[0x81, 0x85, 0, 0, 0, 0]), Ok(None)));
        for reserved in [0x40, 0x20, 0x10] {
            let error = find_in(&[0x81 | reserved, 0x85, 0, 0, 0, 0]).unwrap_err();
            let expected = Error::Protocol(ProtocolError::NonZeroReservedBits);
            assert_eq!(error.to_string(), expected.to_string(), "{reserved:#x}");
        }
    }
}
