//! Between hubs, where both ends of a link have agreed to it: several frames
//! with blocks of one lane, made smaller together.

use weft_base::Lane;

use super::codec::{Reader, Writer};
use super::data::head;
use super::{FRAME_HEADER, FrameClause, FrameError, Kind, MAX_FRAME};

/// Bytes of a [`Packed`] frame before what was packed.
pub const PACKED_HEAD: usize = FRAME_HEADER + 16;

/// `Forward` frames of one lane, one behind the other, packed as one. Whether
/// what it says of them is so shows once they are unpacked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Packed<'a> {
    /// How they were packed: 1 LZ4 block, 2 Zstandard frame. Others are of a later version.
    pub codec: u8,
    /// The lane of all their blocks.
    pub lane: Lane,
    /// How many frames: at least one.
    pub frames: u16,
    /// How many bytes they are once unpacked: a multiple of 8, more than
    /// `bytes` has, and no more than the largest frame.
    pub plain: u32,
    /// What was packed.
    pub bytes: &'a [u8],
}

impl<'a> Packed<'a> {
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, FrameError> {
        let codec = r.one_of("codec", |number| (number > 0).then_some(number))?;
        let lane = r.one_of("lane", Lane::new)?;
        let frames = r.u16("frames")?;
        if frames == 0 {
            return r.refuse_behind(2, FrameClause::Value, "frames", 0);
        }
        let plain = r.u32("plain")?;
        let least = FRAME_HEADER * usize::from(frames);
        if !plain.is_multiple_of(8) || !(least..=MAX_FRAME).contains(&(plain as usize)) {
            return r.refuse_behind(4, FrameClause::Value, "plain", plain.into());
        }
        let len = r.u32("length")?;
        if len == 0 || len >= plain {
            return r.refuse_behind(4, FrameClause::Value, "length", len.into());
        }
        let reserved = r.u32("reserved")?;
        if reserved != 0 {
            return r.refuse_behind(4, FrameClause::Reserved, "reserved", reserved.into());
        }
        Ok(Self { codec, lane, frames, plain, bytes: r.take(len as usize, "bytes")? })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.raw(&self.fields());
        w.raw(self.bytes);
    }

    /// Header and fields, as they stand before `bytes` and the zeros to a
    /// multiple of 8: for a writer that has the bytes where they are to go.
    #[must_use]
    pub fn head(&self) -> [u8; PACKED_HEAD] {
        let len = PACKED_HEAD.saturating_add(self.bytes.len()).next_multiple_of(8);
        let header: [u8; FRAME_HEADER] = zerocopy::transmute!(head(Kind::Packed, 0, 0, len));
        let mut all = [0; PACKED_HEAD];
        let (front, rest) = all.split_at_mut(FRAME_HEADER);
        front.copy_from_slice(&header);
        rest.copy_from_slice(&self.fields());
        all
    }

    fn fields(&self) -> [u8; PACKED_HEAD - FRAME_HEADER] {
        // What is packed is shorter than what it was, so its length fits.
        let len = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        let ([f0, f1], [p0, p1, p2, p3]) = (self.frames.to_le_bytes(), self.plain.to_le_bytes());
        let [l0, l1, l2, l3] = len.to_le_bytes();
        [self.codec, self.lane.get(), f0, f1, p0, p1, p2, p3, l0, l1, l2, l3, 0, 0, 0, 0]
    }
}

impl std::fmt::Debug for Packed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packed")
            .field("codec", &self.codec)
            .field("lane", &self.lane)
            .field("frames", &self.frames)
            .field("plain", &self.plain)
            .field("packed", &self.bytes.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Frame, encode};
    use super::*;

    fn packed(bytes: &[u8]) -> Packed<'_> {
        Packed { codec: 1, lane: Lane::BULK, frames: 2, plain: 4_096, bytes }
    }

    #[test]
    fn a_head_is_what_is_encoded_before_the_bytes() {
        for len in [1, 8, 13] {
            let bytes = vec![9; len];
            let mut encoded = Vec::new();
            encode(&Frame::Packed(packed(&bytes)), &mut encoded);
            let mut made = packed(&bytes).head().to_vec();
            made.extend_from_slice(&bytes);
            made.resize(made.len().next_multiple_of(8), 0);
            assert_eq!(made, encoded);
            assert_eq!(Frame::decode(&made), Ok(Frame::Packed(packed(&bytes))));
        }
    }

    #[test]
    fn what_cannot_be_is_refused_by_the_field_that_says_it() {
        let refused = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut encoded = Vec::new();
            encode(&Frame::Packed(packed(&[9; 16])), &mut encoded);
            change(&mut encoded);
            let error = Frame::decode(&encoded).expect_err("it cannot be");
            (error.field, error.offset)
        };
        assert_eq!(refused(&|b| b[16] = 0), ("codec", 16));
        assert_eq!(refused(&|b| b[17] = 8), ("lane", 17));
        assert_eq!(refused(&|b| b[18] = 0), ("frames", 18));
        for plain in [4_097, 16, MAX_FRAME as u32 + 8, u32::MAX] {
            assert_eq!(refused(&|b| b[20..24].copy_from_slice(&plain.to_le_bytes())), ("plain", 20));
        }
        for len in [0, 4_096, u32::MAX] {
            assert_eq!(refused(&|b| b[24..28].copy_from_slice(&len.to_le_bytes())), ("length", 24));
        }
        assert_eq!(refused(&|b| b[28] = 1), ("reserved", 28));
        assert_eq!(refused(&|b| b[24] = 17), ("bytes", 32), "more than there is");
    }
}
