//! The fixed parts of a message.

/// Length of the two lengths and their CRC, in bytes.
pub(crate) const PRELUDE_LEN: usize = 12;
/// Length of the CRC at the end of a message, in bytes.
pub(crate) const TRAILER_LEN: usize = 4;
/// Bytes of a message besides its headers and payload.
pub(crate) const OVERHEAD: usize = PRELUDE_LEN + TRAILER_LEN;
