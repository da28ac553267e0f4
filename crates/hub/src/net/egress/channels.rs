//! Of a link: the channels that its lanes leave on.

use weft_base::Lane;
use weft_wire::frame::{self, Ping};

use super::Egress;
use super::way::Way;

impl Egress {
    /// From now on lanes leave on so many channels (see [`super::way::channel_of`]),
    /// control frames on channel 0.
    pub(crate) fn keep_lanes_apart(&mut self, channels: usize) {
        self.ways.resize_with(channels.clamp(1, Lane::COUNT + 1), Way::default);
    }

    /// All that was not written of a connection in its handshake.
    pub(crate) fn take_unsent_control(&mut self) -> Vec<u8> {
        let mut unsent = Vec::new();
        for way in &mut self.ways {
            let mut skip = way.written;
            for frame in way.drain() {
                for part in frame.parts() {
                    let from = skip.min(part.len());
                    skip -= from;
                    unsent.extend_from_slice(part.get(from..).unwrap_or_default());
                }
            }
        }
        self.sending_bytes = 0;
        unsent.append(&mut self.control);
        unsent
    }

    /// What was not written before goes first on this channel.
    pub(crate) fn go_on_with(&mut self, channel: usize, unsent: Vec<u8>) {
        if let Some(way) = self.ways.get_mut(channel)
            && !unsent.is_empty()
        {
            self.sending_bytes += unsent.len();
            way.push_control(unsent);
        }
    }

    /// Puts a sign of life on each channel but the first that has nothing to
    /// write. Answers whether there was one.
    pub(crate) fn show_life(&mut self) -> bool {
        let mut any = false;
        for way in self.ways.iter_mut().skip(1).filter(|way| way.frames.is_empty()) {
            let mut bytes = Vec::new();
            frame::encode(&frame::Frame::Ping(Ping { id: 0, time: 0 }), &mut bytes);
            self.sending_bytes += bytes.len();
            way.push_control(bytes);
            any = true;
        }
        any
    }
}
