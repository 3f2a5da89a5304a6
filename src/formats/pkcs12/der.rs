//! The part of DER (X.690) that key stores need: elements with a tag of one byte and a definite length.

use zeroize::Zeroizing;

pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OID: u8 = 0x06;
pub(super) const UTC_TIME: u8 = 0x17;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
pub(super) const BMP_STRING: u8 = 0x1e;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;
/// `[0]`, constructed and explicit.
pub(super) const CONTEXT_0: u8 = 0xa0;
/// `[0]`, primitive and implicit.
pub(super) const IMPLICIT_0: u8 = 0x80;

/// One or more encoded elements. Private keys are among them, so all are overwritten when dropped.
pub(super) type Der = Zeroizing<Vec<u8>>;

/// What an element is made of. A whole tree is encoded at once, because copying a large store for each level takes most of the
/// time.
#[derive(Clone, Copy)]
pub(super) enum Part<'a> {
    /// Encoded elements, or the content of a primitive one.
    Bytes(&'a [u8]),
    /// A tag, and the content.
    Element(u8, &'a [Self]),
}

impl Part<'_> {
    fn length(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Element(_, content) => {
                let length = content_length(content);
                length + 2 + if length < 0x80 { 0 } else { significant_bytes(length) }
            }
        }
    }

    fn write(&self, out: &mut Der) {
        match self {
            Self::Bytes(bytes) => out.extend_from_slice(bytes),
            Self::Element(tag, content) => {
                let length = content_length(content);
                out.push(*tag);
                if length < 0x80 {
                    out.push(length as u8);
                } else {
                    let bytes = significant_bytes(length);
                    out.push(0x80 | bytes as u8);
                    out.extend_from_slice(&length.to_be_bytes()[size_of::<usize>() - bytes..]);
                }
                content.iter().for_each(|part| part.write(out));
            }
        }
    }
}

fn content_length(content: &[Part<'_>]) -> usize {
    content.iter().map(Part::length).sum()
}

fn significant_bytes(number: usize) -> usize {
    size_of::<usize>() - number.leading_zeros() as usize / 8
}

pub(super) fn encode(part: Part<'_>) -> Der {
    // The whole size at once: a vector that grows leaves copies of its content behind.
    let mut out = Zeroizing::new(Vec::with_capacity(part.length()));
    part.write(&mut out);
    out
}

pub(super) fn sequence(content: &[Part<'_>]) -> Der {
    encode(Part::Element(SEQUENCE, content))
}

/// An element within an encoding.
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
    /// The element with its tag and length.
    pub(super) whole: &'a [u8],
}

/// Splits off the first element. Returns `None` if it is truncated or is not DER.
pub(super) fn split(der: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (&[tag, first], rest) = der.split_first_chunk()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    let whole = &der[..der.len() - rest.len()];
    Some((Element { tag, content, whole }, rest))
}

/// As [`split`], but only for an element with this tag.
pub(super) fn split_tag(tag: u8, der: &[u8]) -> Option<(Element<'_>, &[u8])> {
    split(der).filter(|(element, _)| element.tag == tag)
}

/// The content of a single element with this tag, which nothing follows.
pub(super) fn content(tag: u8, der: &[u8]) -> Option<&[u8]> {
    split_tag(tag, der).filter(|(_, rest)| rest.is_empty()).map(|(element, _)| element.content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_encoded_in_the_fewest_bytes_and_read_back() {
        for (length, header) in [
            (0, &[0x04, 0][..]),
            (0x7f, &[0x04, 0x7f]),
            (0x80, &[0x04, 0x81, 0x80]),
            (0xff, &[0x04, 0x81, 0xff]),
            (0x100, &[0x04, 0x82, 1, 0]),
            (0x1_0000, &[0x04, 0x83, 1, 0, 0]),
        ] {
            let bytes = vec![7; length];
            let (first, second) = bytes.split_at(length / 2);
            let der = encode(Part::Element(OCTET_STRING, &[Part::Bytes(first), Part::Bytes(second)]));
            assert_eq!(der.capacity(), der.len());
            assert!(der.starts_with(header), "{length}: {:x?}", &der[..6.min(der.len())]);
            assert_eq!(der.len(), header.len() + length);
            assert_eq!(content(OCTET_STRING, &der), Some(&bytes[..]));
        }
    }

    #[test]
    fn truncated_and_indefinite_lengths_are_refused() {
        for der in [
            &[][..],
            &[0x30],
            &[0x30, 1],
            &[0x30, 0x80, 0, 0],
            &[0x30, 0x82, 1],
            &[0x30, 0x85, 0, 0, 0, 0, 0],
        ] {
            assert!(split(der).is_none(), "{der:x?}");
        }
        assert!(content(SEQUENCE, &[0x30, 0, 0]).is_none(), "a byte follows");
        assert!(content(SEQUENCE, &[0x31, 0]).is_none(), "another tag");
        let (element, rest) = split(&[0x02, 1, 5, 9]).unwrap();
        assert_eq!(
            (element.tag, element.content, element.whole, rest),
            (INTEGER, &[5][..], &[2, 1, 5][..], &[9][..])
        );
    }
}
