//! The data folder: who owns it, and the streams that lie in it.
//!
//! ```text
//! DATA/weft.json          format version, hub's name, epoch of its last start, the folder's own number, its starts
//! DATA/peers.json         what is remembered of other hubs (`conductor/memory.rs`)
//! DATA/lock               held by the running hub
//! DATA/keyed/...          what is looked up by key; can be made anew from the logs
//! DATA/streams/NAME/stream.json
//! DATA/streams/NAME/consumers.json
//! DATA/streams/NAME/...   the log
//! DATA/streams/NAME/schedule/...   the log of what it is to have later
//! DATA/spool/streams.json  the streams of other hubs that are spooled for
//! DATA/spool/ID/...        what waits for the homes of one, a log
//! ```
//!
//! A folder of a newer version, of another hub, or in use is refused and left
//! as it is. A stream that cannot be opened keeps the hub from starting: it
//! would otherwise look as if its events were gone.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weft_base::sync::atomic::AtomicBool;
use weft_base::{ByteCount, Epoch, HubId, Now};
use weft_keyed::{Keyed, KeyedError};
use weft_log::fs::{Fs, Lock};
use weft_log::{Keys, Log, LogOptions, LogReader, Recovery};
use weft_mesh::Life;
use weft_ring::stage::StageWaker;
use weft_topic::Filter;

use super::copies::Copying;
use super::index::{Index, IndexError};
use super::schedule::{self, Schedule};
use super::spec::StreamSpec;
use super::sync::SyncState;
use super::tend::Compacting;
use super::verify::{self, Health};
use crate::keyed::KeyedWriter;
use crate::options::Limits;
use crate::spool::SpooledStream;

/// The format of the folder that this program writes and reads.
const VERSION: u32 = 1;
/// The largest description file read.
const DESCRIPTION_MOST: usize = 64 << 10;
/// The folder of what waits for homes that cannot be reached.
const SPOOL: &str = "spool";
/// The size of a spool's segments: space comes back soon.
const SPOOL_SEGMENT: ByteCount = ByteCount::mib(4);
/// The largest list of streams that are spooled for, as it is read.
const SPOOLED_MOST: usize = 64 << 20;

/// The name of a spool's folder.
fn spool_name(stream: u64) -> String {
    format!("{stream:016x}")
}

#[derive(Serialize, Deserialize)]
struct Description {
    version: u32,
    hub: String,
    epoch: u32,
    /// The folder's random number: a copy of the folder has the same. 0 in folders of before.
    #[serde(default)]
    instance: u64,
    /// How often a hub was started with the folder.
    #[serde(default)]
    starts: u64,
}

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    /// The file system refused.
    #[error(
        "the data folder {path}: {source}; see that this user may write there, and that the disk has room and works"
    )]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another hub holds the lock.
    #[error("the data folder {path} is in use by another hub: stop that one, or give this one a folder of its own")]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// A newer Weft wrote it.
    #[error("the data folder {path} has format version {found}, this program knows up to {VERSION}: run a newer weft")]
    Newer {
        /// The folder.
        path: PathBuf,
        /// The version found.
        found: u32,
    },
    /// It belongs to a hub of another name.
    #[error("the data folder {path} belongs to hub `{found}`: use that name, or another folder")]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// Whose it is.
        found: String,
    },
    /// A description cannot be read.
    #[error("{path} is not what it should be: {reason}; restore it from a backup, nothing was changed")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A stream's log cannot be opened.
    #[error("stream `{stream}`: {source}")]
    Stream {
        /// The stream.
        stream: String,
        /// What is wrong.
        source: weft_log::OpenError,
    },
    /// The keyed state cannot be opened.
    #[error("the keyed state {path}: {source}")]
    Keyed {
        /// Its folder.
        path: PathBuf,
        /// What is wrong.
        source: weft_keyed::KeyedError,
    },
    /// The keyed state was opened and cannot be read.
    #[error(transparent)]
    KeyedDamaged(weft_keyed::KeyedError),
    /// A stream's log cannot be read.
    #[error("stream `{stream}`: {source}")]
    Unreadable {
        /// The stream.
        stream: String,
        /// What is wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl FolderError {
    fn of_index(stream: &str, error: IndexError) -> Self {
        match error {
            IndexError::Keyed(error @ (KeyedError::Damaged { .. } | KeyedError::Stopped)) => Self::KeyedDamaged(error),
            other => Self::Unreadable { stream: stream.to_owned(), source: Box::new(other) },
        }
    }
}

/// A small file's content; none when there is no such file.
fn read_if_there(fs: &dyn Fs, path: &Path, most: usize) -> Result<Option<Vec<u8>>, FolderError> {
    match fs.read(path, most) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(FolderError::Io { path: path.to_owned(), source }),
    }
}

/// The id of a stream that this hub makes at this time: never 0, and another
/// one for a stream that is made under the same name after this one is deleted.
fn stream_id(hub: &str, name: &str, made: u64) -> u64 {
    HubId::of_name(&format!("{hub}/{name}/{made}")).0
}

/// A stream of this hub.
pub(crate) struct Stream {
    pub(crate) spec: StreamSpec,
    pub(crate) filters: Vec<Filter>,
    pub(crate) log: Log,
    pub(crate) reader: LogReader,
    pub(super) index: Index,
    /// What it is to have later; none before there was anything.
    pub(super) schedule: Option<Box<Schedule>>,
    pub(super) compacting: Compacting,
    /// The tenant that has stored all that it may, if that is whose it is; empty:
    /// streams of nobody have.
    pub(super) over_quota: Option<Arc<str>>,
    pub(crate) sync: Arc<SyncState>,
    /// What is damaged of it.
    pub(crate) health: Arc<Health>,
    /// Where its files lie.
    pub(crate) dir: PathBuf,
    /// It has consumers, who want to know when more of it is on disk.
    pub(crate) watched: Arc<AtomicBool>,
    /// The synced position that was last acted upon.
    pub(crate) settled: u64,
    /// What is copied from and to other homes.
    pub(crate) copying: Copying,
    /// Consumers have settled all below, and it goes once all homes have it.
    pub(super) floor: u64,
}

/// What a start brings with it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Birth {
    pub(crate) now: Now,
    /// That of a folder that is new: drawn by chance.
    pub(crate) life: Life,
    /// The folder becomes a new one, as far as other hubs are concerned.
    pub(crate) new_instance: bool,
}

/// The folder, locked for as long as this lives.
pub(crate) struct Folder {
    fs: Arc<dyn Fs>,
    root: PathBuf,
    /// This hub, as blocks name it.
    home: u32,
    /// The hub's name.
    hub: String,
    keyed: KeyedWriter,
    /// The epoch of this life, where keyed state lies in the folder.
    own_keyed: Option<Epoch>,
    /// How often keyed state was begun anew because it was damaged.
    begun_anew: u64,
    /// With which streams are encrypted.
    keys: Option<Keys>,
    _lock: Box<dyn Lock>,
}

impl Folder {
    /// Takes possession of the folder for the hub of this name, and makes this
    /// life's epoch later than all before.
    /// Keyed state is opened in the folder unless one is given; when something
    /// is written to it, `waker` is called.
    pub(crate) fn open(
        fs: Arc<dyn Fs>,
        root: &Path,
        hub: &str,
        (keyed, waker): (Option<Arc<dyn Keyed>>, StageWaker),
        birth: Birth,
    ) -> Result<(Self, Epoch, Life), FolderError> {
        let now = birth.now;
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| FolderError::Io { path, source }
        };
        fs.create_dir(root).map_err(io(root))?;
        let lock_path = root.join("lock");
        let lock = match fs.lock(&lock_path) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Err(FolderError::InUse { path: root.to_owned() });
            }
            outcome => outcome.map_err(io(&lock_path))?,
        };
        let path = root.join("weft.json");
        let mut life = birth.life;
        let mut epoch = u32::try_from(now.wall.0 / 1_000_000_000).unwrap_or(u32::MAX);
        if let Some(bytes) = read_if_there(&*fs, &path, DESCRIPTION_MOST)? {
            let found: Description = serde_json::from_slice(&bytes)
                .map_err(|e| FolderError::Damaged { path: path.clone(), reason: e.to_string() })?;
            if found.version > VERSION {
                return Err(FolderError::Newer { path: root.to_owned(), found: found.version });
            }
            if found.hub != hub {
                return Err(FolderError::Foreign { path: root.to_owned(), found: found.hub });
            }
            epoch = epoch.max(found.epoch.saturating_add(1));
            if !birth.new_instance && found.instance != 0 {
                life.instance = found.instance;
                life.starts = found.starts.saturating_add(1);
            }
        }
        let Life { instance, starts, .. } = life;
        let description = Description { version: VERSION, hub: hub.to_owned(), epoch, instance, starts };
        let bytes = serde_json::to_vec_pretty(&description)
            .map_err(|e| FolderError::Damaged { path: path.clone(), reason: e.to_string() })?;
        fs.write(&path, &bytes).map_err(io(&path))?;
        let streams = root.join("streams");
        fs.create_dir(&streams).map_err(io(&streams))?;
        let home = HubId::of_name(hub).tag();
        let own_keyed = keyed.is_none().then_some(Epoch(epoch));
        let (keyed, anew) = match keyed {
            Some(keyed) => (keyed, false),
            None => super::keyed::open(root, Epoch(epoch))?,
        };
        let (keyed, begun_anew) = (KeyedWriter::new(keyed, waker), u64::from(anew));
        Ok((
            Self {
                fs,
                root: root.to_owned(),
                home,
                hub: hub.to_owned(),
                keyed,
                own_keyed,
                begun_anew,
                keys: None,
                _lock: lock,
            },
            Epoch(epoch),
            life,
        ))
    }

    /// With keys the segments of streams are encrypted.
    pub(crate) fn with_keys(self, keys: Option<Keys>) -> Self {
        Self { keys, ..self }
    }

    /// The keyed state of the hub.
    pub(crate) fn keyed(&self) -> &KeyedWriter {
        &self.keyed
    }

    /// How often keyed state was begun anew because it was damaged.
    pub(crate) fn begun_anew(&self) -> u64 {
        self.begun_anew
    }

    /// Opens every stream that lies in the folder. Keyed state that turns out to
    /// be damaged is begun anew: the logs have what it had.
    pub(crate) fn load(&mut self, limits: &Limits, now: Now) -> Result<Vec<Stream>, FolderError> {
        match (self.load_all(limits, now), self.own_keyed) {
            (Err(FolderError::KeyedDamaged(error)), Some(epoch)) => {
                // The last who has it open lets it go.
                self.keyed = self.keyed.in_place_of(Arc::new(weft_keyed::MemoryKeyed::new()));
                let keyed = super::keyed::anew(&self.root, epoch, &error)?;
                self.keyed = self.keyed.in_place_of(keyed);
                self.begun_anew += 1;
                self.load_all(limits, now)
            }
            (loaded, _) => loaded,
        }
    }

    fn load_all(&self, limits: &Limits, now: Now) -> Result<Vec<Stream>, FolderError> {
        let dir = self.root.join("streams");
        let names = self.fs.list(&dir).map_err(|source| FolderError::Io { path: dir.clone(), source })?;
        let mut streams = Vec::new();
        for name in names {
            let path = dir.join(&name).join("stream.json");
            let Some(bytes) = read_if_there(&*self.fs, &path, DESCRIPTION_MOST)? else {
                // Made half-way when the hub stopped: it was never acknowledged, and holds nothing.
                tracing::warn!(
                    code = "stream_unfinished",
                    stream = name,
                    "a stream's folder without a description is left alone"
                );
                continue;
            };
            let damaged = |reason: String| FolderError::Damaged { path: path.clone(), reason };
            let mut spec: StreamSpec = serde_json::from_slice(&bytes).map_err(|e| damaged(e.to_string()))?;
            if spec.id == 0 {
                // Made before streams had ids.
                spec.id = stream_id(&self.hub, &spec.name, 0);
            }
            let filters = spec.check(limits).map_err(damaged)?;
            streams.push(self.open_stream(spec, filters, limits, now)?);
        }
        Ok(streams)
    }

    /// Makes a stream on disk.
    pub(crate) fn create(
        &self,
        mut spec: StreamSpec,
        filters: Vec<Filter>,
        limits: &Limits,
        now: Now,
    ) -> Result<Stream, FolderError> {
        if spec.id == 0 {
            spec.id = stream_id(&self.hub, &spec.name, now.wall.0);
        }
        self.drop_schedule(&spec.name, limits, now)?;
        let stream = self.open_stream(spec, filters, limits, now)?;
        // Last: a folder without a description is no stream.
        self.describe(&stream.spec)?;
        let streams = self.root.join("streams");
        self.fs.sync_dir(&streams).map_err(|source| FolderError::Io { path: streams, source })?;
        Ok(stream)
    }

    /// Writes a stream's definition in the place of the one it has.
    pub(crate) fn describe(&self, spec: &StreamSpec) -> Result<(), FolderError> {
        let path = self.root.join("streams").join(&spec.name).join("stream.json");
        let bytes = serde_json::to_vec_pretty(spec)
            .map_err(|e| FolderError::Damaged { path: path.clone(), reason: e.to_string() })?;
        self.fs.write(&path, &bytes).map_err(|source| FolderError::Io { path, source })
    }

    fn open_stream(
        &self,
        spec: StreamSpec,
        filters: Vec<Filter>,
        limits: &Limits,
        now: Now,
    ) -> Result<Stream, FolderError> {
        let dir = self.root.join("streams").join(&spec.name);
        let options = LogOptions { home: self.home, keys: self.keys.clone(), ..spec.log_options(limits) };
        let failed = |source| FolderError::Stream { stream: spec.name.clone(), source };
        let (log, recovery) = Log::open(self.fs.clone(), &dir, options, now).map_err(failed)?;
        for damage in &recovery.damaged {
            verify::tell(&spec.name, damage);
        }
        if recovery.cut_bytes > 0 {
            tracing::info!(code = "stream_cut", stream = spec.name, bytes = recovery.cut_bytes, "a torn end was cut");
        }
        let index = Index::open(self.keyed.clone(), &spec, limits, self.home, &log)
            .map_err(|error| FolderError::of_index(&spec.name, error))?;
        let schedule = match self.has_schedule(&dir)? {
            true => Some(Box::new(self.open_schedule(&spec, &log, limits, now)?)),
            false => None,
        };
        Ok(Stream {
            filters,
            reader: log.reader(),
            index,
            schedule,
            floor: 0,
            compacting: Compacting::default(),
            over_quota: None,
            sync: Arc::new(SyncState::default()),
            health: Arc::new(Health::new(&recovery.damaged)),
            dir,
            watched: Arc::new(AtomicBool::new(false)),
            settled: log.synced(),
            copying: Copying::new(),
            log,
            spec,
        })
    }

    fn has_schedule(&self, dir: &Path) -> Result<bool, FolderError> {
        let dir = dir.join(schedule::FOLDER);
        match self.fs.list(&dir) {
            Ok(names) => Ok(!names.is_empty()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(source) => Err(FolderError::Io { path: dir, source }),
        }
    }

    fn schedule_log(&self, name: &str, limits: &Limits, now: Now) -> Result<(Log, Recovery), FolderError> {
        let dir = self.root.join("streams").join(name).join(schedule::FOLDER);
        let options = LogOptions { keys: self.keys.clone(), ..schedule::log_options(limits, self.home) };
        let (log, recovery) = Log::open(self.fs.clone(), &dir, options, now)
            .map_err(|source| FolderError::Stream { stream: schedule::name_of(name), source })?;
        for damage in &recovery.damaged {
            verify::tell(&schedule::name_of(name), damage);
        }
        Ok((log, recovery))
    }

    /// Opens a stream's schedule, or makes it; the stream's log is `log`.
    pub(super) fn open_schedule(
        &self,
        spec: &StreamSpec,
        log: &Log,
        limits: &Limits,
        now: Now,
    ) -> Result<Schedule, FolderError> {
        let (own, recovery) = self.schedule_log(&spec.name, limits, now)?;
        let mut schedule = Schedule::open(self.keyed.clone(), spec, limits, self.home, (own, log))
            .map_err(|error| FolderError::of_index(&spec.name, error))?;
        schedule.health = Arc::new(Health::new(&recovery.damaged));
        Ok(schedule)
    }

    /// Deletes what a stream of this name, deleted half-way, was to have later.
    fn drop_schedule(&self, name: &str, limits: &Limits, now: Now) -> Result<(), FolderError> {
        let dir = self.root.join("streams").join(name);
        if !self.has_schedule(&dir)? {
            return Ok(());
        }
        let (log, _) = self.schedule_log(name, limits, now)?;
        log.delete().map_err(|source| FolderError::Io { path: dir, source })
    }

    /// The streams that were spooled for, and those whose spools lie here.
    pub(crate) fn spools(&self) -> Result<(Vec<SpooledStream>, Vec<u64>), FolderError> {
        let dir = self.root.join(SPOOL);
        let path = dir.join("streams.json");
        let mut known: Vec<SpooledStream> = match read_if_there(&*self.fs, &path, SPOOLED_MOST)? {
            None => Vec::new(),
            Some(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                // What waits is sent all the same, once the mesh tells of the streams.
                tracing::error!(code = "spool_unknown", path = %path.display(), error = %error, "begun anew");
                Vec::new()
            }),
        };
        known.retain(|stream| stream.id != 0);
        let listed = |dir: &Path| match self.fs.list(dir) {
            Ok(names) => Ok(names),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(source) => Err(FolderError::Io { path: dir.to_owned(), source }),
        };
        let mut ids: Vec<u64> = listed(&dir)?.iter().filter_map(|name| u64::from_str_radix(name, 16).ok()).collect();
        for stream in &known {
            if !ids.contains(&stream.id) && !listed(&dir.join(spool_name(stream.id)))?.is_empty() {
                ids.push(stream.id);
            }
        }
        ids.sort_unstable();
        Ok((known, ids))
    }

    /// Writes which streams are spooled for.
    pub(crate) fn save_spooled(&self, known: &[SpooledStream]) -> Result<(), FolderError> {
        let dir = self.root.join(SPOOL);
        let path = dir.join("streams.json");
        let bytes = serde_json::to_vec_pretty(known)
            .map_err(|e| FolderError::Damaged { path: path.clone(), reason: e.to_string() })?;
        self.fs.create_dir(&dir).map_err(|source| FolderError::Io { path: dir, source })?;
        self.fs.write(&path, &bytes).map_err(|source| FolderError::Io { path, source })
    }

    /// Opens the spool of a stream, or makes it.
    pub(crate) fn open_spool(&self, stream: u64, limits: &Limits, now: Now) -> Result<Log, FolderError> {
        let dir = self.root.join(SPOOL).join(spool_name(stream));
        let options = LogOptions {
            segment: ByteCount(SPOOL_SEGMENT.0.max(limits.frame.0 * 2)),
            keys: self.keys.clone(),
            ..schedule::log_options(limits, self.home)
        };
        let (log, recovery) = Log::open(self.fs.clone(), &dir, options, now)
            .map_err(|source| FolderError::Stream { stream: format!("{SPOOL}/{}", spool_name(stream)), source })?;
        for damage in &recovery.damaged {
            tracing::error!(
                code = "spool_damaged",
                spool = spool_name(stream),
                segment = damage.segment,
                offset = damage.offset,
                clause = damage.clause,
                "a spool is damaged; the rest is sent"
            );
        }
        Ok(log)
    }

    /// Deletes a stream: its description first, so that a crash half-way leaves no stream.
    pub(crate) fn delete(&self, stream: Stream) -> Result<(), FolderError> {
        let dir = self.root.join("streams").join(&stream.spec.name);
        let path = dir.join("stream.json");
        let gone = |path: &Path| {
            let path = path.to_owned();
            move |source| FolderError::Io { path, source }
        };
        self.fs.remove(&path).map_err(gone(&path))?;
        let consumers = dir.join(crate::consume::FILE);
        match self.fs.remove(&consumers) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(gone(&consumers)(error)),
            _ => {}
        }
        self.fs.sync_dir(&dir).map_err(gone(&dir))?;
        drop(stream.reader);
        if let Some(schedule) = stream.schedule {
            let gone_by = schedule.delete().map_err(|source| FolderError::Keyed { path: dir.clone(), source })?;
            gone_by.map_err(gone(&dir))?;
        }
        stream.index.delete().map_err(|source| FolderError::Keyed { path: dir.clone(), source })?;
        stream.log.delete().map_err(gone(&dir))
    }
}
