//! The records of TLS 1.3 after the handshake, as a server sees them: sealed, opened, and the rules
//! that RFC 8446 has for them. Owns the keys, and what a peer has begun and not finished. Pure: no
//! socket, no handshake, no buffer of its own.

mod alert;
mod keys;
#[cfg(test)]
mod tests;

pub(crate) use alert::Alert;
pub(crate) use keys::{Keys, Secret, Suite};

/// The length of a record's header, in bytes.
pub(crate) const HEADER_BYTES: usize = 5;

/// The most data that one record holds, in bytes: RFC 8446 section 5.1.
pub(crate) const DATA_BYTES_MAX: usize = 1 << 14;

/// The most that a sealed record holds behind its header, in bytes: RFC 8446 section 5.2.
const SEALED_BYTES_MAX: usize = DATA_BYTES_MAX + 256;

/// How many records are sealed with one key. RFC 8446 section 5.5 allows AES-GCM 2^24.5, and
/// ChaCha20-Poly1305 more.
const RECORDS_PER_KEY: u64 = 1 << 23;

/// How many records without data may follow each other. RFC 8446 section 5.1 allows empty ones, and
/// each costs as much as one that says something.
const IDLE_RECORDS_MAX: u8 = 32;

/// The version in the header of each record: RFC 8446 section 5.1.
const LEGACY_VERSION: [u8; 2] = [3, 3];

/// What a record holds: RFC 8446 section 5.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Content {
    Alert = 21,
    Handshake = 22,
    Data = 23,
}

impl Content {
    fn read(byte: u8) -> Result<Self, Alert> {
        [Content::Alert, Content::Handshake, Content::Data]
            .into_iter()
            .find(|&content| content as u8 == byte)
            .ok_or(Alert::UnexpectedMessage)
    }
}

/// `key_update`, the one message that a client may send after the handshake, and its length:
/// RFC 8446 section 4.6.3.
const KEY_UPDATE: [u8; 4] = [24, 0, 0, 1];

/// What a record that was opened has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opened {
    /// Its data was appended, if it has any.
    Data,
    /// The peer will send nothing more.
    Closed,
    /// The peer has ended the connection with this alert.
    Failed(u8),
}

/// The record layer of one connection.
#[derive(Debug, Default)]
pub(crate) struct Records {
    read: Keys,
    write: Keys,
    /// How much has come of a handshake message, in bytes.
    begun_bytes: u8,
    /// How many records without data have come since the last one with some.
    idle_records: u8,
    owes_key_update: bool,
    /// Whether an alert was sealed that nothing may follow.
    is_closed: bool,
}

/// Finds the first record of `input`, which is at least a whole header if anything is said about
/// it; returns its length, in bytes, with its header.
///
/// # Errors
/// When no record of that kind or length may come after the handshake.
pub(crate) fn find(input: &[u8]) -> Result<Option<usize>, Alert> {
    let Some(&[content, _, _, high, low]) = input.first_chunk::<HEADER_BYTES>() else {
        return Ok(None);
    };
    // After the handshake all is sealed, and looks like data; the version is to be ignored.
    if content != Content::Data as u8 {
        return Err(Alert::UnexpectedMessage);
    }
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > SEALED_BYTES_MAX {
        return Err(Alert::RecordOverflow);
    }
    let bytes = HEADER_BYTES + length;
    Ok((bytes <= input.len()).then_some(bytes))
}

impl Records {
    /// Begins, in place, with the first traffic secrets, of which the peer's has opened so many
    /// records and the own has sealed so many.
    pub(crate) fn install(
        &mut self,
        suite: Suite,
        (read, opened): (&Secret, u64),
        (write, sealed): (&Secret, u64),
    ) {
        self.read.install(suite, read, opened);
        self.write.install(suite, write, sealed);
    }

    /// The keys that the peer's records are opened with, and those that the own are sealed with.
    pub(crate) fn keys(&self) -> (&Keys, &Keys) {
        (&self.read, &self.write)
    }

    /// Whether the peer has asked for new keys and not got them yet.
    pub(crate) fn owes_key_update(&self) -> bool {
        self.owes_key_update && !self.is_closed
    }

    /// Wipes the secrets, in place.
    pub(crate) fn wipe(&mut self) {
        self.read.wipe();
        self.write.wipe();
        self.is_closed = true;
    }

    /// Seals as much of `data` as fits one record, with whatever must come before; appends to
    /// `output`, and returns how many bytes of `data` that was. After an alert nothing is sealed,
    /// and all of `data` is dropped.
    pub(crate) fn seal(&mut self, data: &[u8], output: &mut Vec<u8>) -> usize {
        if self.is_closed {
            return data.len();
        }
        if self.write.sequence() >= RECORDS_PER_KEY {
            self.owes_key_update = true;
        }
        if std::mem::take(&mut self.owes_key_update) {
            const NOT_REQUESTED: u8 = 0;
            let mut message = [NOT_REQUESTED; KEY_UPDATE.len() + 1];
            message[..KEY_UPDATE.len()].copy_from_slice(&KEY_UPDATE);
            self.seal_record(Content::Handshake, &message, output);
            self.write.update();
        }
        let data = &data[..data.len().min(DATA_BYTES_MAX)];
        if !data.is_empty() {
            self.seal_record(Content::Data, data, output);
        }
        data.len()
    }

    /// Seals an alert; nothing can be sealed after it.
    pub(crate) fn close(&mut self, alert: Alert, output: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.is_closed, true) {
            self.seal_record(Content::Alert, &alert.message(), output);
        }
    }

    /// Opens one record, as [`find`] has found it; appends its data to `plain`.
    ///
    /// # Errors
    /// When the record breaks a rule; the connection is to be closed with that alert.
    pub(crate) fn open(&mut self, record: &[u8], plain: &mut Vec<u8>) -> Result<Opened, Alert> {
        let from = plain.len();
        let result = self.open_record(record, plain, from);
        if !matches!(result, Ok((Content::Data, _))) {
            // What is no data must not look like some.
            plain.truncate(from);
        }
        result.map(|(_, opened)| opened)
    }

    fn open_record(
        &mut self,
        record: &[u8],
        plain: &mut Vec<u8>,
        from: usize,
    ) -> Result<(Content, Opened), Alert> {
        let (header, sealed) = record.split_first_chunk().ok_or(Alert::DecodeError)?;
        plain.extend_from_slice(sealed);
        let opened = self
            .read
            .open(*header, &mut plain[from..])
            .map_err(|_| Alert::BadRecordMac)?;
        if opened > DATA_BYTES_MAX + 1 {
            return Err(Alert::RecordOverflow);
        }
        // The content's type stands last, before padding of zeros: RFC 8446 section 5.4.
        let inner = &plain[from..from + opened];
        let at = inner
            .iter()
            .rposition(|&byte| byte != 0)
            .ok_or(Alert::UnexpectedMessage)?;
        let content = Content::read(inner[at])?;
        plain.truncate(from + at);
        let message = &plain[from..];
        if content != Content::Handshake && self.begun_bytes > 0 {
            // A message in pieces may have nothing between them: RFC 8446 section 5.1.
            return Err(Alert::UnexpectedMessage);
        }
        self.count_idle(content == Content::Data && !message.is_empty())?;
        let opened = match content {
            Content::Data => Opened::Data,
            Content::Alert => read_alert(message)?,
            Content::Handshake => self.read_handshake(message)?,
        };
        Ok((content, opened))
    }

    fn count_idle(&mut self, has_data: bool) -> Result<(), Alert> {
        self.idle_records = if has_data { 0 } else { self.idle_records + 1 };
        if self.idle_records > IDLE_RECORDS_MAX {
            return Err(Alert::UnexpectedMessage);
        }
        Ok(())
    }

    /// Takes a handshake message, or a piece of one. The only one that may come is a key update.
    fn read_handshake(&mut self, piece: &[u8]) -> Result<Opened, Alert> {
        const REQUESTED: u8 = 1;
        if piece.is_empty() {
            // RFC 8446 section 5.1.
            return Err(Alert::UnexpectedMessage);
        }
        for (at, &byte) in piece.iter().enumerate() {
            let position = usize::from(self.begun_bytes);
            let Some(&expected) = KEY_UPDATE.get(position) else {
                self.begun_bytes = 0;
                if byte > REQUESTED {
                    return Err(Alert::IllegalParameter);
                }
                if at + 1 < piece.len() {
                    // What follows would be of another key: RFC 8446 section 5.1.
                    return Err(Alert::UnexpectedMessage);
                }
                self.read.update();
                self.owes_key_update |= byte == REQUESTED;
                return Ok(Opened::Data);
            };
            if byte != expected {
                return Err(if position == 0 {
                    Alert::UnexpectedMessage
                } else {
                    Alert::DecodeError
                });
            }
            self.begun_bytes += 1;
        }
        Ok(Opened::Data)
    }

    fn seal_record(&mut self, content: Content, message: &[u8], output: &mut Vec<u8>) {
        let sealed = message.len() + 1 + TAG_BYTES;
        let [high, low] = (sealed as u16).to_be_bytes();
        let header = [
            Content::Data as u8,
            LEGACY_VERSION[0],
            LEGACY_VERSION[1],
            high,
            low,
        ];
        output.reserve(HEADER_BYTES + sealed);
        output.extend_from_slice(&header);
        let from = output.len();
        output.extend_from_slice(message);
        output.push(content as u8);
        self.write.seal(header, output, from);
    }
}

#[cfg(any(test, fuzzing))]
impl Records {
    /// Seals a record with this type of content, whatever the rules say, and so much padding.
    pub(crate) fn seal_anything(
        &mut self,
        content: u8,
        message: &[u8],
        padding: usize,
        output: &mut Vec<u8>,
    ) {
        let sealed = message.len() + 1 + padding + TAG_BYTES;
        let [high, low] = (sealed as u16).to_be_bytes();
        let header = [Content::Data as u8, 3, 3, high, low];
        output.extend_from_slice(&header);
        let from = output.len();
        output.extend_from_slice(message);
        output.push(content);
        output.resize(output.len() + padding, 0);
        self.write.seal(header, output, from);
    }

    /// Seals with the next traffic secret from now on.
    pub(crate) fn change_keys(&mut self) {
        self.write.update();
    }
}

/// The length of the tag behind what is sealed, in bytes: the same for each suite.
const TAG_BYTES: usize = 16;

fn read_alert(message: &[u8]) -> Result<Opened, Alert> {
    match *message {
        // An alert is never in pieces: RFC 8446 section 5.1.
        [_, description] if description == Alert::CloseNotify as u8 => Ok(Opened::Closed),
        [_, description] if description == Alert::UserCanceled as u8 => Ok(Opened::Data),
        [_, description] => Ok(Opened::Failed(description)),
        [] => Err(Alert::UnexpectedMessage),
        _ => Err(Alert::DecodeError),
    }
}
