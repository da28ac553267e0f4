//! The little of Kafka's protocol that the benchmark speaks: requests of fixed
//! versions before the compact ones, record batches of magic 2, and a socket
//! that hands out whole answers.
//!
//! <https://kafka.apache.org/protocol>, <https://kafka.apache.org/documentation/#messageformat>

use std::io::{Read, Write};
use std::net::TcpStream;
use std::ops::Range;

use anyhow::{Context, Result, bail, ensure};
use weft_base::checksum::crc32c;

use crate::fixed::connect;
use crate::nats::CHUNK;

/// A request's kind: its key and version.
#[derive(Clone, Copy, Debug)]
pub(super) struct Api(i16, i16);

pub(super) const PRODUCE: Api = Api(0, 3);
pub(super) const FETCH: Api = Api(1, 4);
pub(super) const CREATE_TOPICS: Api = Api(19, 2);
pub(super) const DELETE_TOPICS: Api = Api(20, 1);

/// Bytes of a batch up to the end of its length field, which counts what is behind.
const LENGTH_END: usize = 12;
/// Where a batch's checksum is; it covers all that is behind it.
const CHECKSUM: Range<usize> = 17..21;
/// Bytes of a batch before its first record.
const BATCH_HEAD: usize = 61;
/// The longest answer that is believed.
const LONGEST: usize = 64 << 20;

/// A request that is being written.
#[derive(Debug)]
pub(super) struct Request(Vec<u8>);

impl Request {
    pub(super) fn new(Api(key, version): Api) -> Self {
        // The length is filled in at the end. Answers come in the order of the
        // requests, so all carry the same correlation id.
        Self(vec![0; 4]).i16(key).i16(version).i32(1).string("weft-bench")
    }

    pub(super) fn i8(self, value: i8) -> Self {
        self.raw(&value.to_be_bytes())
    }

    pub(super) fn i16(self, value: i16) -> Self {
        self.raw(&value.to_be_bytes())
    }

    pub(super) fn i32(self, value: i32) -> Self {
        self.raw(&value.to_be_bytes())
    }

    pub(super) fn i64(self, value: i64) -> Self {
        self.raw(&value.to_be_bytes())
    }

    pub(super) fn string(self, text: &str) -> Self {
        self.i16(text.len() as i16).raw(text.as_bytes())
    }

    pub(super) fn bytes(self, bytes: &[u8]) -> Self {
        self.i32(bytes.len() as i32).raw(bytes)
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        let behind = (self.0.len() - 4) as u32;
        self.0[..4].copy_from_slice(&behind.to_be_bytes());
        self.0
    }
}

/// A produce request of one batch of these payloads, to be answered when all
/// replicas have it, of which there is one.
pub(super) fn produce<P: AsRef<[u8]>>(topic: &str, now_ms: i64, payloads: &[P]) -> Vec<u8> {
    let request = Request::new(PRODUCE).i16(-1).i16(-1).i32(20_000);
    request.i32(1).string(topic).i32(1).i32(0).bytes(&batch(now_ms, payloads)).finish()
}

/// A batch of records without keys.
fn batch<P: AsRef<[u8]>>(now_ms: i64, payloads: &[P]) -> Vec<u8> {
    let count = payloads.len() as i32;
    // Base offset, length, leader epoch, magic, checksum, attributes, last
    // offset, times, producer id, its epoch and sequence (none), count.
    let head = Request(Vec::new()).i64(0).i32(0).i32(-1).i8(2).i32(0).i16(0).i32(count - 1);
    let mut batch = head.i64(now_ms).i64(now_ms).i64(-1).i16(-1).i32(-1).i32(count).0;
    let mut record = Vec::new();
    for (number, payload) in payloads.iter().enumerate() {
        let payload = payload.as_ref();
        record.clear();
        record.extend_from_slice(&[0, 0]);
        zigzag(&mut record, number as i64);
        zigzag(&mut record, -1);
        zigzag(&mut record, payload.len() as i64);
        record.extend_from_slice(payload);
        record.push(0);
        zigzag(&mut batch, record.len() as i64);
        batch.extend_from_slice(&record);
    }
    let length = (batch.len() - LENGTH_END) as u32;
    batch[8..LENGTH_END].copy_from_slice(&length.to_be_bytes());
    let checksum = crc32c(&batch[CHECKSUM.end..]);
    batch[CHECKSUM].copy_from_slice(&checksum.to_be_bytes());
    batch
}

fn zigzag(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// What is left to be read of an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer<'a>(&'a [u8]);

impl<'a> Answer<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>().context("an answer of Kafka's that is too short")?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn i16(&mut self) -> Result<i16> {
        Ok(i16::from_be_bytes(self.take()?))
    }

    pub(super) fn i32(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.take()?))
    }

    pub(super) fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_be_bytes(self.take()?))
    }

    pub(super) fn raw(&mut self, length: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length).context("an answer of Kafka's that is too short")?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn string(&mut self) -> Result<&'a [u8]> {
        let length = self.i16()?;
        self.raw(usize::try_from(length).unwrap_or(0))
    }

    fn zigzag(&mut self) -> Result<i64> {
        let (mut value, mut shift) = (0_u64, 0);
        loop {
            let [byte] = self.take()?;
            ensure!(shift < 64, "a number of Kafka's that does not end");
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
            shift += 7;
        }
    }
}

/// Batches one behind the other, the last of which may be cut short; what is
/// not a batch at all is an error.
#[derive(Debug)]
pub(super) struct Batches<'a>(pub(super) &'a [u8]);

/// One whole batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batch<'a> {
    /// The offset behind its last record.
    pub(super) next: i64,
    pub(super) records: u64,
    bytes: &'a [u8],
}

impl<'a> Batches<'a> {
    pub(super) fn next(&mut self) -> Result<Option<Batch<'a>>> {
        let mut head = Answer(self.0);
        if self.0.len() < BATCH_HEAD {
            return Ok(None);
        }
        let base = head.i64()?;
        let length = LENGTH_END + usize::try_from(head.i32()?)?;
        ensure!(self.0[16] == 2 && length >= BATCH_HEAD, "not a record batch of magic 2");
        let Some((bytes, rest)) = self.0.split_at_checked(length) else { return Ok(None) };
        self.0 = rest;
        let last = i64::from(Answer(&bytes[23..]).i32()?);
        let records = u64::try_from(Answer(&bytes[BATCH_HEAD - 4..]).i32()?)?;
        Ok(Some(Batch { next: base + last + 1, records, bytes }))
    }
}

impl<'a> Batch<'a> {
    /// Hands out each record's payload.
    pub(super) fn each(&self, mut each: impl FnMut(&'a [u8]) -> Result<()>) -> Result<()> {
        let mut rest = Answer(&self.bytes[BATCH_HEAD..]);
        for _ in 0..self.records {
            let length = usize::try_from(rest.zigzag()?)?;
            let mut record = Answer(rest.raw(length)?);
            record.take::<1>()?;
            record.zigzag()?;
            record.zigzag()?;
            let key = usize::try_from(record.zigzag()?).unwrap_or(0);
            record.raw(key)?;
            let payload = usize::try_from(record.zigzag()?)?;
            each(record.raw(payload)?)?;
        }
        Ok(())
    }
}

/// A socket, and what was read but not yet handed out.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) socket: TcpStream,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Connection {
    pub(super) fn open(address: &str) -> Result<Self> {
        Ok(Self { socket: connect(address)?, buffer: vec![0; CHUNK], start: 0, end: 0 })
    }

    pub(super) fn ask(&mut self, request: &[u8]) -> Result<Answer<'_>> {
        self.socket.write_all(request)?;
        self.answer()
    }

    /// The bytes of the next answer, if it is there as a whole.
    fn whole(&self) -> Result<Option<Range<usize>>> {
        let pending = &self.buffer[self.start..self.end];
        let Some(length) = pending.first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*length) as usize;
        ensure!((4..=LONGEST).contains(&length), "an answer of Kafka's of {length} bytes");
        Ok((pending.len() >= 4 + length).then(|| self.start + 4..self.start + 4 + length))
    }

    /// Whether an answer can be had without waiting.
    pub(super) fn is_ready(&self) -> Result<bool> {
        Ok(self.whole()?.is_some())
    }

    /// Waits for the next answer, which begins behind its correlation id.
    pub(super) fn answer(&mut self) -> Result<Answer<'_>> {
        let range = loop {
            if let Some(range) = self.whole()? {
                break range;
            }
            self.read()?;
        };
        self.start = range.end;
        let mut answer = Answer(&self.buffer[range]);
        if answer.i32()? != 1 {
            bail!("Kafka answers something that was not asked");
        }
        Ok(answer)
    }

    fn read(&mut self) -> Result<()> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.buffer.len() {
            self.buffer.resize(2 * self.buffer.len(), 0);
        }
        let read = self.socket.read(&mut self.buffer[self.end..]).context("waited in vain for Kafka")?;
        ensure!(read > 0, "Kafka closed the connection");
        self.end += read;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_read_as_it_was_written_and_one_cut_short_is_none() {
        let one = batch(7, &[&b"first"[..], b"", &[b'x'; 300]]);
        let two = [&one[..], &one[..one.len() - 1]].concat();
        let mut batches = Batches(&two);
        let read = batches.next().unwrap().unwrap();
        let mut payloads = Vec::new();
        read.each(|payload| {
            payloads.push(payload.to_vec());
            Ok(())
        })
        .unwrap();
        assert_eq!((read.next, read.records, payloads), (3, 3, vec![b"first".to_vec(), Vec::new(), vec![b'x'; 300]]));
        assert!(batches.next().unwrap().is_none());
    }

    #[test]
    fn what_is_no_batch_is_an_error() {
        let mut other = batch(7, &[b"x"]);
        other[16] = 1;
        assert!(Batches(&other).next().is_err());
    }
}
