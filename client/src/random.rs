//! Random bytes for secrets.

/// Returns `N` bytes from the system's cryptographic random source.
///
/// # Panics
/// When the system has no random source: no secret would be safe then.
#[expect(
    clippy::expect_used,
    reason = "a system without randomness cannot run a push service"
)]
pub fn random<const N: usize>() -> [u8; N] {
    let mut octets = [0; N];
    aws_lc_rs::rand::fill(&mut octets).expect("the system's random source works");
    octets
}
