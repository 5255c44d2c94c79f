//! How many requests wait for Python.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The most requests that wait for an answer at a time.
pub(crate) const MOST: usize = 1024;

/// The places of requests that wait.
#[derive(Debug, Default)]
pub(crate) struct Places(AtomicUsize);

/// The place of a request. It is kept until Python has decided, whether or not the client is still
/// there: a flood of clients that leave again must not fill the memory.
#[derive(Debug)]
pub(crate) struct Place(Arc<Places>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Places {
    /// Takes a place. `None`: all are taken.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Place> {
        let taken = self.0.fetch_add(1, Ordering::AcqRel);
        // Given back at once where there are too many.
        let place = Place(Arc::clone(self));
        (taken < MOST).then_some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_and_given_back() {
        let places = Arc::new(Places::default());
        let mut taken: Vec<_> = (0..MOST).filter_map(|_| places.take()).collect();
        assert_eq!(taken.len(), MOST);
        assert!(places.take().is_none());
        assert!(places.take().is_none());
        taken.pop();
        assert!(places.take().is_some());
    }
}
