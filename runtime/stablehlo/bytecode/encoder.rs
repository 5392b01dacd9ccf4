//! The primitives of MLIR's bytecode format.

/// The identifiers of sections.
#[derive(Clone, Copy, Debug)]
pub(super) enum Section {
    String = 0,
    Dialect = 1,
    AttrType = 2,
    AttrTypeOffset = 3,
    Ir = 4,
    Properties = 8,
}

/// Encoded bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Encoder(pub Vec<u8>);

impl Encoder {
    pub fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Writes an integer of one to nine bytes. The number of zeros at the low end of the first byte is the number of
    /// bytes that follow.
    pub fn varint(&mut self, value: u64) {
        let bits = u64::BITS - value.leading_zeros();
        let bytes = bits.div_ceil(7).max(1) as usize;
        if bytes > 8 {
            self.byte(0);
            self.bytes(&value.to_le_bytes());
            return;
        }
        let encoded = (value << 1 | 1) << (bytes - 1);
        self.bytes(&encoded.to_le_bytes()[..bytes]);
    }

    pub fn index(&mut self, index: usize) {
        self.varint(index as u64);
    }

    /// Writes a signed integer, whose sign becomes the lowest bit.
    pub fn signed_varint(&mut self, value: i64) {
        self.varint(((value << 1) ^ (value >> 63)) as u64);
    }

    /// Writes an integer with a flag as its lowest bit.
    pub fn flagged(&mut self, value: usize, flag: bool) {
        self.varint((value as u64) << 1 | u64::from(flag));
    }

    /// Writes the number of indices, and the indices.
    pub fn indices(&mut self, indices: &[usize]) {
        self.index(indices.len());
        indices.iter().for_each(|index| self.index(*index));
    }

    /// Writes bytes after their number.
    pub fn blob(&mut self, bytes: &[u8]) {
        self.index(bytes.len());
        self.bytes(bytes);
    }

    pub fn section(&mut self, section: Section, content: &Self) {
        self.byte(section as u8);
        self.blob(&content.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn varint(value: u64) -> Vec<u8> {
        let mut encoder = Encoder::default();
        encoder.varint(value);
        encoder.0
    }

    #[test]
    fn varints_have_the_bytes_of_the_format() {
        assert_eq!(varint(0), [0x01]);
        assert_eq!(varint(127), [0xFF]);
        // Two bytes: the value shifted by two bits, and 0b10.
        assert_eq!(varint(128), [0x02, 0x02]);
        assert_eq!(varint((1 << 14) - 1), [0xFE, 0xFF]);
        assert_eq!(varint(1 << 14), [0x04, 0x00, 0x02]);
        assert_eq!(varint((1 << 56) - 1), [0x80, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]);
        assert_eq!(varint(1 << 56), [0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(varint(u64::MAX), [0, 255, 255, 255, 255, 255, 255, 255, 255]);
    }

    #[test]
    fn signs_are_the_lowest_bits() {
        let signed = |value| {
            let mut encoder = Encoder::default();
            encoder.signed_varint(value);
            encoder.0
        };
        assert_eq!([signed(0), signed(-1), signed(1)].map(|bytes| bytes[0]), [0x01, 0x03, 0x05]);
        assert_eq!(signed(i64::MIN), varint(u64::MAX));
    }
}
