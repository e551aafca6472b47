//! What the fuzz targets do with their input, one function each.
//!
//! Nothing may panic, whatever comes; beyond that each function asserts what
//! must hold for any input. A plain test replays the seeds: those written by hand
//! in `corpus/`, and the smallest set of inputs that fuzzing found to reach new
//! code, one archive a target in `found/`. To go on from the latter, unpack it
//! into a folder and name that as the first corpus of `cargo fuzz run`.

mod application_server;
mod operator;
mod user_agent;

pub use application_server::{encryption, push_headers, tokens, vapid};
pub use bugle::fuzzing::{admission, export, proxies, stored_record};
pub use operator::config;
pub use user_agent::{mcs, session, websocket};

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Read;
    use std::path::Path;

    use flate2::read::GzDecoder;
    use tar::Archive;

    const HERE: &str = env!("CARGO_MANIFEST_DIR");

    /// Runs a target on every seed of `corpus/TARGET/` and `found/TARGET.tar.gz`.
    fn replay(target: &str, run: fn(&[u8])) {
        let seeds = [written(target), found(target)];
        for (name, seed) in seeds.iter().flatten() {
            // Shown when the test fails.
            println!("{name}");
            run(seed);
        }
        assert!(seeds.iter().all(|seeds| !seeds.is_empty()));
    }

    fn written(target: &str) -> Vec<(String, Vec<u8>)> {
        let folder = Path::new(HERE).join("corpus").join(target);
        let seeds = fs::read_dir(folder).unwrap().map(|seed| {
            let path = seed.unwrap().path();
            let octets = fs::read(&path).unwrap();
            (path.display().to_string(), octets)
        });
        seeds.collect()
    }

    fn found(target: &str) -> Vec<(String, Vec<u8>)> {
        let archive = Path::new(HERE).join(format!("found/{target}.tar.gz"));
        let mut archive = Archive::new(GzDecoder::new(File::open(archive).unwrap()));
        let seeds = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut octets = Vec::new();
            entry.read_to_end(&mut octets).unwrap();
            (entry.path().unwrap().display().to_string(), octets)
        });
        seeds.collect()
    }

    macro_rules! replay {
        ($($target:ident)*) => {
            $(
                #[test]
                fn $target() {
                    replay(stringify!($target), super::$target);
                }
            )*
        };
    }

    replay!(admission config encryption export mcs proxies push_headers session stored_record tokens vapid websocket);
}
