//! The push protocol of Chromium: check-in, registration, and the frames and messages of its
//! connection (MCS, the mobile connection server).
//!
//! Its maker has not documented it. Everything here is what an unmodified Chromium was seen to send
//! and to accept; `docs/decisions/0015-chromium.md` says what was tried. Only the fields that this
//! service needs are declared: a parser skips all others.

pub mod checkin;
pub mod close;
pub mod device;
pub mod frame;
pub mod message;
pub mod registration;
pub mod session;

pub use close::Close;
pub use device::Device;
pub use registration::{Names, Registration};
