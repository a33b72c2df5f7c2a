//! Connections that a stop request ends while they wait for bytes: a registry that is silent must not keep the program
//! from giving back what it holds, for example the name of a bundle under repair.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

/// How long a connection waits before it looks whether a stop was requested.
const SLICE: Duration = Duration::from_millis(200);

/// Wraps connections; with the flag that requests a stop.
pub(super) struct Interruptible(pub(super) Arc<AtomicBool>);

impl fmt::Debug for Interruptible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Interruptible")
    }
}

impl<In: Transport> Connector<In> for Interruptible {
    type Out = Waiting<In>;

    fn connect(&self, _: &ConnectionDetails, chained: Option<In>) -> Result<Option<Self::Out>, ureq::Error> {
        Ok(chained.map(|inner| Waiting { inner, stop: Arc::clone(&self.0) }))
    }
}

/// A connection that waits in slices.
pub(super) struct Waiting<T> {
    inner: T,
    stop: Arc<AtomicBool>,
}

impl<T> fmt::Debug for Waiting<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waiting")
    }
}

impl<T: Transport> Transport for Waiting<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.inner.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let limit = *timeout.for_read().after;
        let since = Instant::now();
        loop {
            let left = limit.saturating_sub(since.elapsed());
            if left <= SLICE {
                let rest = NextTimeout { per_read: Some(left.into()), ..timeout };
                return self.inner.await_input(rest);
            }
            match self.inner.await_input(NextTimeout { per_read: Some(SLICE.into()), ..timeout }) {
                Err(ureq::Error::Timeout(_)) if self.stop.load(Ordering::Relaxed) => {
                    return Err(io::Error::other("interrupted").into());
                }
                Err(ureq::Error::Timeout(_)) => {}
                done => return done,
            }
        }
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}
