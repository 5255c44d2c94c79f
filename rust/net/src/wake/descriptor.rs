//! What wakes an event loop: a descriptor that it watches for reading, or a socket from which it
//! reads itself.
//!
//! | loop | system | what | cleared by |
//! | --- | --- | --- | --- |
//! | has `add_reader` | Linux | an eventfd | [`Signal::clear`] |
//! | has `add_reader` | any other | a socket pair | [`Signal::clear`] |
//! | has only `sock_recv` | any | a socket pair, one end of which is the loop's | the loop's reading |
//!
//! Windows has neither eventfds nor pipes that its loops can watch, so sockets are what every
//! system has. Where there is an eventfd, it costs a third.

use std::io::{self, Read as _, Write as _};
#[cfg(any(windows, test))]
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Signal;

#[cfg(unix)]
mod system {
    use std::os::fd::{AsRawFd as _, IntoRawFd as _};
    use std::os::unix::net::UnixStream;

    pub(super) type Socket = UnixStream;
    /// What Python calls a file descriptor.
    pub type Handle = std::os::fd::RawFd;

    pub(super) fn pair() -> std::io::Result<(Socket, Socket)> {
        UnixStream::pair()
    }

    pub(super) fn handle(socket: &Socket) -> Handle {
        socket.as_raw_fd()
    }

    pub(super) fn into_handle(socket: Socket) -> Handle {
        socket.into_raw_fd()
    }
}

#[cfg(windows)]
mod system {
    use std::os::windows::io::{AsRawSocket as _, IntoRawSocket as _};

    pub(super) type Socket = std::net::TcpStream;
    /// What Python calls a socket's file descriptor.
    pub type Handle = std::os::windows::io::RawSocket;

    pub(super) use super::loopback as pair;

    pub(super) fn handle(socket: &Socket) -> Handle {
        socket.as_raw_socket()
    }

    pub(super) fn into_handle(socket: Socket) -> Handle {
        socket.into_raw_socket()
    }
}

pub use system::Handle;
use system::Socket;

/// What wakes an event loop.
#[derive(Debug)]
pub struct Descriptor(Kind);

#[derive(Debug)]
enum Kind {
    #[cfg(target_os = "linux")]
    Eventfd(std::fs::File),
    /// The loop watches the one for reading, the other is written to.
    Pair { watched: Socket, raised: Socket },
    /// The loop has the other end and reads from it. `None`: there is no other end.
    Far(Mutex<Option<Socket>>),
}

impl Descriptor {
    /// Creates a descriptor for a loop to watch, the cheapest that the system has. It is not
    /// readable yet.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn watched() -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        {
            use rustix::event::{EventfdFlags, eventfd};
            let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
            Ok(Self(Kind::Eventfd(std::fs::File::from(fd))))
        }
        #[cfg(not(target_os = "linux"))]
        Self::pair()
    }

    /// Creates a descriptor for a loop to watch: a socket pair, whatever the system has. It is not
    /// readable yet.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn pair() -> io::Result<Self> {
        let (watched, raised) = nonblocking_pair()?;
        Ok(Self(Kind::Pair { watched, raised }))
    }

    /// Creates what wakes a loop that reads from a socket itself: [`Self::connect`] makes the
    /// socket.
    #[must_use]
    pub const fn far() -> Self {
        Self(Kind::Far(Mutex::new(None)))
    }

    /// Returns the handle to watch for reading; `None` where the loop reads from a socket itself.
    #[must_use]
    pub fn handle(&self) -> Option<Handle> {
        match &self.0 {
            #[cfg(target_os = "linux")]
            Kind::Eventfd(eventfd) => Some(std::os::fd::AsRawFd::as_raw_fd(eventfd)),
            Kind::Pair { watched, .. } => Some(system::handle(watched)),
            Kind::Far(_) => None,
        }
    }

    /// Creates a socket for the loop to read from, which takes the place of an earlier one. The
    /// caller owns the handle. `None` where the loop watches a descriptor.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn connect(&self) -> io::Result<Option<Handle>> {
        let Kind::Far(far) = &self.0 else {
            return Ok(None);
        };
        let (theirs, ours) = nonblocking_pair()?;
        *locked(far) = Some(ours);
        Ok(Some(system::into_handle(theirs)))
    }

    /// Ends the connection to the loop's socket, which may be closed then.
    pub fn disconnect(&self) {
        if let Kind::Far(far) = &self.0 {
            *locked(far) = None;
        }
    }
}

impl Signal for Descriptor {
    // No failure matters here: a buffer that is full, or an eventfd with 2^64 - 2 raises pending,
    // means that the loop is awake; a connection that has broken is found by the loop's reading.
    fn raise(&self) {
        match &self.0 {
            #[cfg(target_os = "linux")]
            Kind::Eventfd(eventfd) => {
                let mut eventfd = eventfd;
                let _ = eventfd.write(&1u64.to_ne_bytes());
            }
            Kind::Pair { raised, .. } => {
                let mut raised = raised;
                let _ = raised.write(&[1]);
            }
            Kind::Far(far) => {
                if let Some(far) = &mut *locked(far) {
                    let _ = far.write(&[1]);
                }
            }
        }
    }

    fn clear(&self) {
        match &self.0 {
            #[cfg(target_os = "linux")]
            Kind::Eventfd(eventfd) => {
                let mut eventfd = eventfd;
                // It fails where nothing was raised, which does no harm.
                let _ = eventfd.read(&mut [0; 8]);
            }
            Kind::Pair { watched, .. } => {
                let mut watched = watched;
                while matches!(watched.read(&mut [0; 64]), Ok(64)) {}
            }
            Kind::Far(_) => {}
        }
    }
}

fn nonblocking_pair() -> io::Result<(Socket, Socket)> {
    let (one, other) = system::pair()?;
    one.set_nonblocking(true)?;
    other.set_nonblocking(true)?;
    Ok((one, other))
}

/// Connects two sockets over the loopback interface: Windows has no other socket pairs.
#[cfg(any(windows, test))]
fn loopback() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let one =
        TcpStream::connect_timeout(&listener.local_addr()?, std::time::Duration::from_secs(5))?;
    loop {
        // It does not block: our own connection waits to be accepted.
        let (other, from) = listener.accept()?;
        // Any process may have connected before, and is turned away.
        if from == one.local_addr()? {
            one.set_nodelay(true)?;
            other.set_nodelay(true)?;
            return Ok((one, other));
        }
    }
}

fn locked(far: &Mutex<Option<Socket>>) -> MutexGuard<'_, Option<Socket>> {
    far.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    fn is_readable(mut read: impl io::Read) -> bool {
        match read.read(&mut [0; 8]) {
            Ok(0) => panic!("the other end is closed"),
            Ok(_) => true,
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// Returns whether a loop that watches would be woken. Takes what it finds.
    fn wakes(descriptor: &Descriptor) -> bool {
        match &descriptor.0 {
            #[cfg(target_os = "linux")]
            Kind::Eventfd(eventfd) => is_readable(eventfd),
            Kind::Pair { watched, .. } => is_readable(watched),
            Kind::Far(_) => panic!("nothing to watch"),
        }
    }

    /// A pair of which the test has the loop's end as a stream, and not as a number.
    fn far() -> (Descriptor, Socket) {
        let (theirs, ours) = nonblocking_pair().unwrap();
        (Descriptor(Kind::Far(Mutex::new(Some(ours)))), theirs)
    }

    #[test]
    fn it_is_readable_from_the_raise_to_the_clearing() {
        for make in [Descriptor::watched, Descriptor::pair] {
            let descriptor = make().unwrap();
            // Nothing to take back: it does not block.
            descriptor.clear();
            assert!(!wakes(&descriptor));
            descriptor.raise();
            descriptor.raise();
            descriptor.clear();
            assert!(!wakes(&descriptor));
            descriptor.raise();
            assert!(wakes(&descriptor));
        }
    }

    #[test]
    fn any_number_of_raises_is_cleared_at_once_and_none_blocks() {
        for make in [Descriptor::watched, Descriptor::pair] {
            let descriptor = make().unwrap();
            (0..10_000).for_each(|_| descriptor.raise());
            descriptor.clear();
            assert!(!wakes(&descriptor));
        }
    }

    #[test]
    fn the_loops_own_reading_takes_the_raises() {
        let (descriptor, socket) = far();
        assert!(!is_readable(&socket));
        descriptor.raise();
        // The loop reads itself.
        descriptor.clear();
        assert!(is_readable(&socket));
        assert!(!is_readable(&socket));
        (0..10_000).for_each(|_| descriptor.raise());
        assert!(is_readable(&socket));
    }

    #[test]
    fn a_socket_that_is_gone_is_not_written_to() {
        let (descriptor, socket) = far();
        descriptor.disconnect();
        assert_eq!((&socket).read(&mut [0; 8]).unwrap(), 0);
        descriptor.raise();
        // Nor is one that broke.
        let (descriptor, socket) = far();
        drop(socket);
        descriptor.raise();
        descriptor.raise();
    }

    #[test]
    fn a_loop_watches_or_reads_and_never_both() {
        for make in [Descriptor::watched, Descriptor::pair] {
            let descriptor = make().unwrap();
            assert!(descriptor.handle().is_some());
            assert_eq!(descriptor.connect().unwrap(), None);
        }
        assert_eq!(Descriptor::far().handle(), None);
        // Without a socket this does nothing.
        Descriptor::far().raise();
    }

    #[test]
    fn sockets_over_loopback_are_connected_with_each_other() {
        let (mut one, mut other) = loopback().unwrap();
        one.write_all(b"there").unwrap();
        other.write_all(b"back").unwrap();
        let (mut there, mut back) = ([0; 5], [0; 4]);
        other.read_exact(&mut there).unwrap();
        one.read_exact(&mut back).unwrap();
        assert_eq!((&there, &back), (b"there", b"back"));
    }
}
