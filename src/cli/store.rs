//! `bugle store`: checks, exports, imports and compacts the store. The service must not run
//! meanwhile.

mod progress;

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Subcommand;

use self::progress::Progress;
use super::config_args::ConfigArgs;
use super::{Failure, files, note, print};
use crate::config::Config;
use crate::secrets;
use crate::service::clock::{self, ClockFile};
use crate::store::export::{ExportReader, ExportWriter, Record};
use crate::store::{Found, InsertError, Offline, OpenError, folder_of, guarded, replace};
use crate::time::Clock;

pub(super) const EXAMPLE: &str = "\
The service must not run on the same data folder meanwhile; the commands refuse to run then.

Example:
  bugle store export backup.bugle --data ./bugle-data
  bugle store import backup.bugle --data ./other-data";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Read every record, and count the records and the damaged ones
    Check(ConfigArgs),
    /// Write all data to a file (docs/export-format.md)
    Export {
        /// File to create, or - for standard output. It holds secrets: keep it private
        file: PathBuf,
        /// Leave out the keys that seal endpoints: without them, no endpoint works after an import
        #[arg(long)]
        without_keys: bool,
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Read an export into a store that is empty or missing
    Import {
        /// File written by export, or - for standard input
        file: PathBuf,
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Shrink the store to the size of its contents
    Compact(ConfigArgs),
}

/// Runs the subcommand.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    match &args.command {
        Command::Check(config) => check(&config.load()?),
        Command::Export {
            file,
            without_keys,
            config,
        } => export(&config.load()?, file, !without_keys),
        Command::Import { file, config } => import(&config.load()?, file),
        Command::Compact(config) => compact(&config.load()?),
    }
}

/// Number of records by kind, and of damaged records.
#[derive(Default)]
struct Count {
    subscriptions: u64,
    messages: u64,
    receipt_subscriptions: u64,
    receipts: u64,
    broadcasts: u64,
    damaged: u64,
}

impl Count {
    fn add(&mut self, record: &Record) {
        match record {
            Record::EndpointKeys(_) | Record::NextId(_) | Record::Days(_) => {}
            Record::Subscription(..) => self.subscriptions += 1,
            Record::ReceiptSubscription(..) => self.receipt_subscriptions += 1,
            Record::Broadcast(..) => self.broadcasts += 1,
            Record::Message(..) => self.messages += 1,
            Record::Receipt(..) => self.receipts += 1,
        }
    }

    fn text(&self) -> String {
        format!(
            "{} subscriptions, {} messages, {} receipt subscriptions, {} receipts, {} broadcasts",
            self.subscriptions,
            self.messages,
            self.receipt_subscriptions,
            self.receipts,
            self.broadcasts
        )
    }
}

fn check(config: &Config) -> Result<(), Failure> {
    let path = folder_of(config);
    let (count, set_aside, missing) = guarded(&path, || {
        let store = Offline::open(&path, config.store.cache)?;
        let count = each(&store, &mut |_| Ok::<_, OpenError>(()))?;
        Ok((count, store.set_aside(), store.missing()?))
    })?;
    print(format!("{} can be read", count.text()))?;
    if set_aside > 0 {
        print(format!(
            "{set_aside} damaged records were set aside earlier"
        ))?;
    }
    match (count.damaged, missing) {
        (0, None) => Ok(()),
        (damaged, missing) => Err(format!(
            "{damaged} records are damaged{}: the service sets aside what is damaged and goes on \
             without it; or put back a copy of {}",
            missing.map_or_else(String::new, |missing| format!(", {missing}")),
            path.display()
        )
        .into()),
    }
}

/// Passes each readable record to `take`, and counts all records.
fn each<E: From<OpenError>>(
    store: &Offline,
    take: &mut dyn FnMut(&Record) -> Result<(), E>,
) -> Result<Count, E> {
    let progress = Progress::records(store.keys());
    let mut count = Count::default();
    for found in store.records() {
        match found? {
            Found::Good(record) => {
                count.add(&record);
                take(&record)?;
                progress.add(1);
            }
            Found::Damaged(kind, pieces) => {
                note(format!("Damaged: {kind}, {pieces}"));
                count.damaged += pieces;
                progress.add(pieces);
            }
        }
    }
    Ok(count)
}

fn export(config: &Config, file: &Path, with_keys: bool) -> Result<(), Failure> {
    let path = folder_of(config);
    // Checked first, so that a failure leaves no file.
    Offline::must_exist(&path)?;
    let to: Box<dyn Write> = if file == Path::new("-") {
        Box::new(io::stdout().lock())
    } else {
        Box::new(create_private(file)?)
    };
    let written = write_export(config, &path, to, with_keys);
    if written.is_err() && file != Path::new("-") {
        // Remove an incomplete export.
        let _ = fs::remove_file(file);
    }
    let count = written?;
    note(format!("Exported {}", count.text()));
    if count.damaged > 0 {
        note(format!("{} damaged records were left out", count.damaged));
    }
    Ok(())
}

fn write_export(
    config: &Config,
    path: &Path,
    to: Box<dyn Write>,
    with_keys: bool,
) -> Result<Count, Failure> {
    let mut writer = ExportWriter::begin(BufWriter::new(to), Clock::system().now())?;
    // Times in an export are wall clock times.
    let offset = offset_of(config)?;
    if with_keys {
        let keys = secrets::lines(&config.endpoint_keys_file())?;
        writer.write(&Record::EndpointKeys(keys))?;
    }
    let count = guarded(path, || {
        let store = Offline::open(path, config.store.cache)?;
        Ok(each::<Failure>(&store, &mut |record| {
            match offset {
                0 => writer.write(record)?,
                _ => writer.write(&record.clone().moved(-offset))?,
            }
            Ok(())
        }))
    })??;
    writer.end()?;
    Ok(count)
}

/// The offset of the service time from the wall clock in the data folder, in milliseconds.
fn offset_of(config: &Config) -> Result<i64, Failure> {
    let file = ClockFile::read(&config.server.data.join(clock::FILE))?;
    Ok(file.map_or(0, |file| file.offset_ms))
}

/// Creates a file for its owner only, which is synced at the end.
fn create_private(file: &Path) -> Result<Synced, Failure> {
    let mut options = OpenOptions::new();
    let created = options.write(true).create_new(true).mode(0o600).open(file);
    let created = created.map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    Ok(Synced(created))
}

struct Synced(File);

impl Write for Synced {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.write(octets)
    }

    /// Called once at the end: a buffer is in front of this.
    fn flush(&mut self) -> io::Result<()> {
        self.0.sync_all()
    }
}

fn import(config: &Config, file: &Path) -> Result<(), Failure> {
    let (from, size): (Box<dyn Read>, _) = if file == Path::new("-") {
        (Box::new(io::stdin().lock()), None)
    } else {
        let opened = File::open(file).and_then(|from| Ok((from.metadata()?.len(), from)));
        let (size, from) = opened.map_err(|error| format!("{}: {error}", file.display()))?;
        (Box::new(from), Some(size))
    };
    let progress = Progress::bytes(size);
    let mut reader = ExportReader::begin(BufReader::new(progress.reading(from)))
        .map_err(|error| format!("{}: {error}", files::name(file)))?;
    secrets::make_private_folder(&config.server.data)?;
    let path = folder_of(config);
    let count = replace::<Count, Failure>(&path, config.store.cache, |old, new| {
        if !old.is_empty()? {
            return Err(format!(
                "{} is not empty: import into another data folder, or move this one away",
                path.display()
            )
            .into());
        }
        read_export(config, &mut reader, new)
            .map_err(|error: Failure| format!("{}: {error}", files::name(file)).into())
    })?;
    note(format!("Imported {}", count.text()));
    Ok(())
}

fn read_export<R: io::BufRead>(
    config: &Config,
    reader: &mut ExportReader<R>,
    new: &mut Offline,
) -> Result<Count, Failure> {
    let mut count = Count::default();
    let mut keys = Vec::new();
    let offset = offset_of(config)?;
    while let Some(record) = reader.next()? {
        let line = reader.lines();
        let record = record.moved(offset);
        new.insert(&record)
            .map_err(|error: InsertError| format!("line {line} of the export: {error}"))?;
        count.add(&record);
        if let Record::EndpointKeys(lines) = record {
            keys = lines;
        }
    }
    // The keys are installed before the new store is put in place, so that its endpoints work at
    // once.
    if !keys.is_empty() {
        secrets::install(&config.endpoint_keys_file(), &keys)?;
    }
    Ok(count)
}

fn compact(config: &Config) -> Result<(), Failure> {
    let path = folder_of(config);
    Offline::must_exist(&path)?;
    let before = guarded(&path, || {
        replace::<_, OpenError>(&path, config.store.cache, |old, new| {
            let progress = Progress::records(old.keys());
            new.copy_from(old, &mut |keys| progress.add(keys))?;
            old.disk_bytes()
        })
    })?;
    let after = guarded(&path, || {
        Offline::open(&path, config.store.cache)?.disk_bytes()
    })?;
    print(format!("{before} bytes before, {after} after"))?;
    Ok(())
}
