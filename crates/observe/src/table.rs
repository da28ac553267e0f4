//! The file of counters as its writer sees it: names are given words, which are
//! then written without asking anybody.
//!
//! A table always works. Where there is no file (no right, a full disk, a file
//! system without mappings) its words lie in memory of the process, and
//! [`Table::backing`] says why; the hub logs that and goes on. A value for which
//! there is no room any more, or whose name is too long, gets words of its own:
//! it counts on, is in no file, and is counted ([`Table::left_out`]).
//!
//! Names are looked up under a lock, when a stage, link or class begins: not per
//! block. Entries are never removed while the process lives; who comes again
//! under a name goes on with its words.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use weft_base::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use weft_base::sync::{Arc, Mutex};
use weft_base::{ByteCount, UnixNanos};

use crate::layout::{
    ENTRY, HEADER, Kind, MAGIC, MAX_BYTES, MAX_ENTRIES, MAX_HUB, MAX_LINK, MAX_NAME, MAX_PROGRAM, NO_BEAT, Place, Unit,
    VERSION, byte_words, word, words_of,
};
use crate::mapping::{Cells, Memory};
use crate::place;
use crate::recorder::Recorder;
use crate::scale::Scale;
use crate::snapshot::Snapshot;

/// What a table is made with.
#[derive(Clone, Debug)]
pub struct TableOptions {
    /// The hub's data folder, where the file lies or a link to it; without one
    /// there is no file.
    pub folder: Option<PathBuf>,
    /// A folder on a file system in memory, usually `/dev/shm`; see [`crate::place`].
    pub memory: Option<PathBuf>,
    /// The hub's name; what is beyond 128 bytes is cut off.
    pub hub: String,
    /// The program's version; what is beyond 64 bytes is cut off.
    pub program: String,
    /// This process.
    pub process: u32,
    /// When it started.
    pub start: UnixNanos,
    /// The most values that have a name in the file; at most [`MAX_ENTRIES`].
    pub entries: usize,
    /// Room for values: 8 bytes for each, and 9.5 KiB for each histogram. With
    /// header and entries at most [`MAX_BYTES`].
    pub room: ByteCount,
}

impl Default for TableOptions {
    fn default() -> Self {
        Self {
            folder: None,
            memory: Some(PathBuf::from("/dev/shm")),
            hub: String::new(),
            program: String::new(),
            process: 0,
            start: UnixNanos(0),
            entries: 4096,
            room: ByteCount::mib(2),
        }
    }
}

/// Where a table's words lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backing {
    /// In this file, on a file system in memory.
    Memory(PathBuf),
    /// In this file, on a disk: a store may wait for it now and then.
    Disk(PathBuf),
    /// In no file, as was asked or for this reason.
    Own(Option<String>),
}

/// The values of a process, by name.
#[derive(Debug)]
pub struct Table {
    /// The file; without one each value has words of its own.
    memory: Option<Arc<Memory>>,
    /// Holds the lock that says that the file is in use.
    _file: Option<File>,
    header: Cells,
    backing: Backing,
    room: usize,
    given: Mutex<Given>,
}

#[derive(Debug)]
struct Given {
    by_name: BTreeMap<String, Entry>,
    /// The first word that is free, and the first that is not there.
    next: usize,
    end: usize,
}

/// What a value is asked for by.
#[derive(Clone, Copy)]
struct Asked<'a> {
    kind: Kind,
    name: &'a str,
    unit: Unit,
    beat: Option<&'a Beat>,
    scale: Scale,
}

#[derive(Clone, Debug)]
struct Entry {
    number: u16,
    kind: Kind,
    scale: Scale,
    cells: Cells,
    /// Of a histogram or a beat: somebody writes it.
    held: Arc<AtomicBool>,
}

/// A counter or gauge: a word that any thread may write.
#[derive(Clone, Debug)]
pub struct Value(Cells);

impl Default for Value {
    /// A word of its own, in no file.
    fn default() -> Self {
        Self(Cells::own(1))
    }
}

impl Deref for Value {
    type Target = AtomicU64;

    #[inline]
    fn deref(&self) -> &AtomicU64 {
        static NEVER: AtomicU64 = AtomicU64::new(0);
        // Each is made with one word.
        self.0.first().unwrap_or(&NEVER)
    }
}

impl Value {
    /// Whether other processes can see it.
    #[must_use]
    pub fn is_mapped(&self) -> bool {
        self.0.is_mapped()
    }
}

/// When a stage last did something: what tells how old its values are.
#[derive(Debug)]
pub struct Beat {
    value: Value,
    /// Its entry; none where there was no room.
    number: u16,
    held: Option<Arc<AtomicBool>>,
}

impl Beat {
    /// It does something now. Once per turn.
    #[inline]
    pub fn beat(&mut self, now: UnixNanos) {
        self.value.store(now.0, Ordering::Relaxed);
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        if let Some(held) = &self.held {
            // Release: pairs with the acquire of the next one to take it.
            held.store(false, Ordering::Release);
        }
    }
}

impl Default for Table {
    /// In memory of its own, for simulations and tests.
    fn default() -> Self {
        Self::create(&TableOptions::default())
    }
}

impl Table {
    /// A table in a file, or else in memory of its own: see [`Table::backing`].
    #[must_use]
    pub fn create(options: &TableOptions) -> Self {
        let entries = options.entries.clamp(1, MAX_ENTRIES);
        let least = HEADER + entries * ENTRY;
        let room = options.room.as_usize().min(MAX_BYTES as usize - least * 8) / 8;
        // Whole pages.
        let words = (least + room).next_multiple_of(HEADER).min(MAX_BYTES as usize / 8);
        let (memory, file, backing) = match &options.folder {
            None => (None, None, Backing::Own(None)),
            Some(folder) => match Self::map(folder, options, entries, words) {
                Ok((memory, file, backing)) => (Some(memory), Some(file), backing),
                Err(error) => {
                    let why = format!(
                        "the counters are in no file, so that no other process can read them: {error}; see that the data \
                         folder can be written to and has {} free",
                        ByteCount(words as u64 * 8)
                    );
                    (None, None, Backing::Own(Some(why)))
                }
            },
        };
        let header = memory.as_ref().and_then(|memory| memory.cells(0, HEADER)).unwrap_or_else(|| Cells::own(HEADER));
        let given = Given { by_name: BTreeMap::new(), next: least, end: words };
        Self { memory, _file: file, header, backing, room: entries, given: Mutex::new(given) }
    }

    fn map(
        folder: &Path,
        options: &TableOptions,
        entries: usize,
        words: usize,
    ) -> io::Result<(Arc<Memory>, File, Backing)> {
        let name = format!("{}-{:x}", options.process, options.start.0);
        let mut memory = None;
        // Whoever comes by it later may stand elsewhere.
        let link = folder.canonicalize()?.join(place::FILE);
        let fill = |file: &File| {
            let made = Memory::of_file(file, words * 8)?;
            write_header(&made, options, &link, (entries, words));
            memory = Some(made);
            Ok(())
        };
        let place::Made { path, in_memory, file } =
            place::make(folder, options.memory.as_deref(), &name, words as u64 * 8, fill)?;
        let memory = memory.ok_or_else(|| io::Error::other("the file was not mapped"))?;
        Ok((memory, file, if in_memory { Backing::Memory(path) } else { Backing::Disk(path) }))
    }

    /// Where the words lie; to be logged once when it is not in memory.
    #[must_use]
    pub const fn backing(&self) -> &Backing {
        &self.backing
    }

    /// How many values are in no file for want of room, or because of their name.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.word(word::LEFT_OUT).map_or(0, |left| left.load(Ordering::Relaxed))
    }

    /// The process lives: what values without a beat of their own are as old as.
    #[inline]
    pub fn beat(&self, now: UnixNanos) {
        self.set(word::BEAT, now.0);
    }

    /// The last beat, in Unix nanoseconds.
    #[inline]
    #[must_use]
    pub fn last_beat(&self) -> u64 {
        self.word(word::BEAT).map_or(0, |beat| beat.load(Ordering::Relaxed))
    }

    /// The process ends in good order: what is there is the last.
    pub fn end(&self, now: UnixNanos) {
        self.set(word::BEAT, now.0);
        self.set(word::STATE, 2);
    }

    fn word(&self, at: usize) -> Option<&AtomicU64> {
        self.header.get(at)
    }

    fn set(&self, at: usize, value: u64) {
        if let Some(word) = self.word(at) {
            word.store(value, Ordering::Relaxed);
        }
    }

    /// A counter; the same word for the same name.
    #[must_use]
    pub fn counter(&self, name: &str, unit: Unit, beat: Option<&Beat>) -> Value {
        self.value(Kind::Counter, name, unit, beat)
    }

    /// A gauge; the same word for the same name.
    #[must_use]
    pub fn gauge(&self, name: &str, unit: Unit, beat: Option<&Beat>) -> Value {
        self.value(Kind::Gauge, name, unit, beat)
    }

    fn value(&self, kind: Kind, name: &str, unit: Unit, beat: Option<&Beat>) -> Value {
        let asked = Asked { kind, name, unit, beat, scale: Scale::NANOS };
        self.entry(asked).map_or_else(Value::default, |entry| Value(entry.cells))
    }

    /// A beat, which one stage has at a time: while it does, others that ask for
    /// it get one that is in no file.
    #[must_use]
    pub fn beat_of(&self, name: &str) -> Beat {
        let unit = Unit::UnixNanoseconds;
        match self.hold(Asked { kind: Kind::Beat, name, unit, beat: None, scale: Scale::NANOS }) {
            Some(entry) => Beat { value: Value(entry.cells), number: entry.number, held: Some(entry.held) },
            None => Beat { value: Value::default(), number: NO_BEAT, held: None },
        }
    }

    /// A histogram, which has one writer at a time: while there is one, others
    /// that ask for it get one that is in no file.
    #[must_use]
    pub fn histogram(&self, name: &str, unit: Unit, scale: Scale, beat: Option<&Beat>) -> Recorder {
        match self.hold(Asked { kind: Kind::Histogram, name, unit, beat, scale }) {
            Some(entry) => Recorder::at(entry.cells, scale, entry.held),
            None => Recorder::own(scale),
        }
    }

    fn hold(&self, asked: Asked<'_>) -> Option<Entry> {
        let entry = self.entry(asked)?;
        // Acquire: what the last writer wrote is what this one goes on from.
        if entry.held.swap(true, Ordering::Acquire) {
            self.leave_out();
            return None;
        }
        Some(entry)
    }

    fn leave_out(&self) {
        if let Some(left) = self.word(word::LEFT_OUT) {
            left.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The entry of a name, made when there is none; `None` when it cannot be,
    /// or the name is something else's.
    fn entry(&self, asked: Asked<'_>) -> Option<Entry> {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = match given.by_name.get(asked.name) {
            Some(entry) => Some(entry.clone()).filter(|entry| (entry.kind, entry.scale) == (asked.kind, asked.scale)),
            None => self.add(&mut given, asked),
        };
        if entry.is_none() {
            self.leave_out();
        }
        entry
    }

    fn add(&self, given: &mut Given, asked: Asked<'_>) -> Option<Entry> {
        let Asked { kind, name, unit, beat, scale } = asked;
        let number = given.by_name.len();
        let is_name = !name.is_empty() && name.len() <= MAX_NAME && !name.chars().any(char::is_control);
        if !is_name || number >= self.room {
            return None;
        }
        let len = words_of(kind, scale);
        // What one thread writes often begins a cache line.
        let at = if len == 1 { given.next } else { given.next.next_multiple_of(8) };
        let end = at.checked_add(len).filter(|end| *end <= given.end)?;
        let cells = match &self.memory {
            None => Cells::own(len),
            Some(memory) => {
                let place = Place {
                    kind: kind.byte(),
                    unit,
                    name_bytes: u8::try_from(name.len()).ok()?,
                    scale: if kind == Kind::Histogram { scale.parts() } else { (0, 0) },
                    beat: beat.map_or(NO_BEAT, |beat| beat.number),
                    at: u32::try_from(at).ok()?,
                    len: u32::try_from(len).ok()?,
                };
                let slot = memory.cells(HEADER + number * ENTRY, ENTRY)?;
                for (to, from) in slot.iter().zip(place.words().into_iter().chain(byte_words(name.as_bytes()))) {
                    to.store(from, Ordering::Relaxed);
                }
                memory.cells(at, len)?
            }
        };
        // Release: a reader that sees the number sees the entry; pairs with the
        // fence in `reading`.
        self.word(word::ENTRIES)?.store(number as u64 + 1, Ordering::Release);
        given.next = end;
        let number = u16::try_from(number).ok()?;
        let entry = Entry { number, kind, scale, cells, held: Arc::new(AtomicBool::new(false)) };
        given.by_name.insert(name.to_owned(), entry.clone());
        Some(entry)
    }

    /// Calls `each` with all values that have a name, in their order: for
    /// `/metrics` and the page, in this process.
    pub fn each(&self, mut each: impl FnMut(&str, Kind, Look<'_>)) {
        // Not under the lock while they are shown: that takes longer.
        let all: Vec<(String, Entry)> = {
            let given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
            given.by_name.iter().map(|(name, entry)| (name.clone(), entry.clone())).collect()
        };
        for (name, entry) in &all {
            each(name, entry.kind, Look(entry));
        }
    }
}

/// One value of this process's own table.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a>(&'a Entry);

impl Look<'_> {
    /// The number that a counter, gauge or beat has; of a histogram 0.
    #[must_use]
    pub fn number(&self) -> u64 {
        if self.0.kind == Kind::Histogram { 0 } else { self.load(0) }
    }

    /// What a histogram has recorded.
    #[must_use]
    pub fn snapshot(&self) -> Option<Snapshot> {
        (self.0.kind == Kind::Histogram).then(|| Snapshot::read(self.0.scale, |at| self.load(at)))
    }

    fn load(&self, at: usize) -> u64 {
        self.0.cells.get(at).map_or(0, |word| word.load(Ordering::Relaxed))
    }
}

/// As much of a text as fits, whole characters, and none that a reader refuses.
fn cut(text: &str, bytes: usize) -> String {
    let mut fits: String = text.chars().filter(|c| !c.is_control()).collect();
    fits.truncate(fits.floor_char_boundary(bytes));
    fits
}

fn write_header(memory: &Arc<Memory>, options: &TableOptions, link: &Path, (entries, words): (usize, usize)) {
    let Some(header) = memory.cells(0, HEADER) else { return };
    let put = |at: usize, value: u64| {
        if let Some(word) = header.get(at) {
            word.store(value, Ordering::Relaxed);
        }
    };
    let (hub, program) = (cut(&options.hub, MAX_HUB), cut(&options.program, MAX_PROGRAM));
    put(word::VERSION, VERSION);
    put(word::BYTES, words as u64 * 8);
    put(word::PROCESS, u64::from(options.process));
    put(word::START, options.start.0);
    put(word::ROOM, entries as u64);
    put(word::STATE, 1);
    put(word::BEAT, options.start.0);
    put(word::HUB_BYTES, hub.len() as u64);
    put(word::PROGRAM_BYTES, program.len() as u64);
    byte_words(hub.as_bytes()).enumerate().for_each(|(at, value)| put(word::HUB + at, value));
    byte_words(program.as_bytes()).enumerate().for_each(|(at, value)| put(word::PROGRAM + at, value));
    // A longer one is not told, and its file stays until that folder's next start.
    let link = Some(link.as_os_str().as_bytes()).filter(|link| link.len() <= MAX_LINK).unwrap_or_default();
    put(word::LINK_BYTES, link.len() as u64);
    byte_words(link).enumerate().for_each(|(at, value)| put(word::LINK + at, value));
    // Who sees the magic sees the rest.
    fence(Ordering::Release);
    put(word::MAGIC, MAGIC);
}
