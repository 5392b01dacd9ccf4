//! TensorFlow's message `Event` in the encoding of protocol buffers. Only the fields that scalars need are included.
//!
//! ```text
//! message Event {
//!   double wall_time = 1;
//!   int64 step = 2;
//!   oneof what {
//!     string file_version = 3;
//!     Summary summary = 5;
//!     SessionLog session_log = 7;
//!   }
//! }
//! message Summary {
//!   message Value { string tag = 1; float simple_value = 2; }
//!   repeated Value value = 1;
//! }
//! message SessionLog {
//!   enum SessionStatus { STATUS_UNSPECIFIED = 0; START = 1; }
//!   SessionStatus status = 1;
//! }
//! ```

/// The file version that TensorBoard expects in the first event of a file.
const FILE_VERSION: &str = "brain.Event:2";

/// The content of an event: the field `what` of the message.
pub(super) enum What<'a> {
    /// The first event of a file.
    FileVersion,
    /// TensorBoard discards the events of earlier files that have the step of this event or a later one.
    SessionStart,
    /// Values by tag.
    Scalars(&'a [(&'a str, f64)]),
}

/// Returns an event as a message. `wall_time` is in seconds since 1970.
pub(super) fn event(wall_time: f64, step: u64, what: &What<'_>) -> Vec<u8> {
    let mut message = Message::default();
    message.double(1, wall_time);
    message.integer(2, step);
    match what {
        What::FileVersion => message.bytes(3, FILE_VERSION.as_bytes()),
        What::SessionStart => message.bytes(7, &session_start()),
        What::Scalars(values) => message.bytes(5, &summary(values)),
    }
    message.0
}

fn session_start() -> Vec<u8> {
    let mut session_log = Message::default();
    session_log.integer(1, 1);
    session_log.0
}

fn summary(values: &[(&str, f64)]) -> Vec<u8> {
    let mut summary = Message::default();
    for (tag, value) in values {
        let mut message = Message::default();
        message.bytes(1, tag.as_bytes());
        message.float(2, *value as f32);
        summary.bytes(1, &message.0);
    }
    summary.0
}

/// A message that is being encoded.
#[derive(Default)]
struct Message(Vec<u8>);

/// How the value of a field is encoded.
#[derive(Clone, Copy)]
enum WireType {
    Varint = 0,
    Fixed64 = 1,
    Length = 2,
    Fixed32 = 5,
}

impl Message {
    fn double(&mut self, field: u64, value: f64) {
        self.key(field, WireType::Fixed64);
        self.0.extend(value.to_le_bytes());
    }

    fn float(&mut self, field: u64, value: f32) {
        self.key(field, WireType::Fixed32);
        self.0.extend(value.to_le_bytes());
    }

    fn integer(&mut self, field: u64, value: u64) {
        // Encoders omit numbers that equal their default.
        if value != 0 {
            self.key(field, WireType::Varint);
            self.varint(value);
        }
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.key(field, WireType::Length);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
    }

    fn key(&mut self, field: u64, wire_type: WireType) {
        self.varint(field << 3 | wire_type as u64);
    }

    /// Appends 7 bits per byte, the lowest first. The high bit of a byte says that more bytes follow.
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_split_into_groups_of_seven_bits() {
        for (value, encoded) in [(1u64, vec![1]), (127, vec![127]), (128, vec![128, 1]), (300, vec![172, 2])]
        {
            let mut message = Message::default();
            message.varint(value);
            assert_eq!(message.0, encoded);
        }
        let mut message = Message::default();
        message.varint(u64::MAX);
        assert_eq!(message.0, [vec![255; 9], vec![1]].concat());
    }
}
