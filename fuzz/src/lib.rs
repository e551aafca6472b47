//! What the fuzz targets do with their input, one function each.
//!
//! Nothing may panic, whatever comes; beyond that each function asserts what
//! must hold for any input. The seeds in `corpus/` are replayed as a plain test.

mod application_server;
mod operator;
mod user_agent;

pub use application_server::{encryption, push_headers, tokens, vapid};
pub use bugle::fuzzing::{admission, export, proxies, stored_record};
pub use operator::config;
pub use user_agent::{session, websocket};

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    fn replay(target: &str, run: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("corpus")
            .join(target);
        let seeds: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|seed| seed.unwrap().path())
            .collect();
        assert!(!seeds.is_empty());
        for seed in seeds {
            // Shown when the test fails.
            println!("{}", seed.display());
            run(&fs::read(seed).unwrap());
        }
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

    replay!(admission config encryption export proxies push_headers session stored_record tokens vapid websocket);
}
