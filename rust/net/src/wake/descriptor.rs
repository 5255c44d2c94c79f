//! A file descriptor that an event loop watches for reading: how asyncio's loops are woken.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
#[cfg(not(target_os = "linux"))]
use std::os::unix::net::UnixStream;

use super::Signal;

/// An eventfd: a third of a pipe's cost.
#[cfg(target_os = "linux")]
#[derive(Debug)]
pub struct Descriptor(std::fs::File);

#[cfg(target_os = "linux")]
impl Descriptor {
    /// Creates a descriptor that is not readable yet.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn new() -> io::Result<Self> {
        use rustix::event::{EventfdFlags, eventfd};
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self(std::fs::File::from(fd)))
    }

    /// Returns the number to watch for reading.
    #[must_use]
    pub fn fileno(&self) -> RawFd {
        self.fd().as_raw_fd()
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(target_os = "linux")]
impl Signal for Descriptor {
    fn raise(&self) {
        use std::io::Write as _;
        // It fails only with 2^64 - 2 raises pending, and the loop is awake then.
        let _ = (&self.0).write(&1u64.to_ne_bytes());
    }

    fn clear(&self) {
        use std::io::Read as _;
        // It fails where nothing was raised, which does no harm.
        let _ = (&self.0).read(&mut [0; 8]);
    }
}

/// A socket pair where there is no eventfd.
#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
pub struct Descriptor {
    raised: UnixStream,
    watched: UnixStream,
}

#[cfg(not(target_os = "linux"))]
impl Descriptor {
    /// Creates a descriptor that is not readable yet.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn new() -> io::Result<Self> {
        let (raised, watched) = UnixStream::pair()?;
        raised.set_nonblocking(true)?;
        watched.set_nonblocking(true)?;
        Ok(Self { raised, watched })
    }

    /// Returns the number to watch for reading.
    #[must_use]
    pub fn fileno(&self) -> RawFd {
        self.fd().as_raw_fd()
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.watched.as_fd()
    }
}

#[cfg(not(target_os = "linux"))]
impl Signal for Descriptor {
    fn raise(&self) {
        use std::io::Write as _;
        // A full buffer means that raises are pending already.
        let _ = (&self.raised).write(&[1]);
    }

    fn clear(&self) {
        use std::io::Read as _;
        while matches!((&self.watched).read(&mut [0; 64]), Ok(64)) {}
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{ErrorKind, Read as _};

    use super::*;

    /// Returns whether a loop that watches would be woken. Takes what it finds.
    fn is_readable(descriptor: &Descriptor) -> bool {
        let mut watched = File::from(descriptor.fd().try_clone_to_owned().unwrap());
        match watched.read(&mut [0; 8]) {
            Ok(_) => true,
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn it_is_readable_from_the_raise_to_the_clearing() {
        let descriptor = Descriptor::new().unwrap();
        // Nothing to take back: it does not block.
        descriptor.clear();
        assert!(!is_readable(&descriptor));
        descriptor.raise();
        descriptor.raise();
        descriptor.clear();
        assert!(!is_readable(&descriptor));
        descriptor.raise();
        assert!(is_readable(&descriptor));
    }
}
