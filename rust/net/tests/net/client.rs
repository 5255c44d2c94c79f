//! The client's side of a test: opening streams, and a session over them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dgsm_leg::end::LegEnd;
use dgsm_leg::frame::Frame;
use dgsm_net::engine::Engine;
use dgsm_net::failure::Failure;
use dgsm_net::pool::{Admission, OpenLeg, Pending, Pool};
use dgsm_net::pump;
use dgsm_net::session::SharedSession;
use dgsm_net::wake::Wake;
use dgsm_net::wake::interest;
use dgsm_net::wake::outbox::Pumped as _;
use dgsm_session::{FailureCause, Outcome, PushError, Session, Settings, Step, Target};
use http::Request;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::peer::signer;

/// Longer than anything in a test takes, unless it hangs.
pub const HANG: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub struct Woken(Notify);

impl Wake for Woken {
    fn wake(&self) {
        self.0.notify_one();
    }
}

pub fn request() -> Request<()> {
    Request::post("https://127.0.0.1/endpoints/test/invocations-bidirectional-stream")
        .body(())
        .unwrap()
}

/// A stream on its way: a task waits for admission and opens it. Dropping this cancels the task.
pub struct Begun(JoinHandle<Result<Asked, Failure>>);

/// A request that was sent, and what is woken when it is answered.
type Asked = (Pending<OpenLeg>, Arc<Woken>);

pub fn begin(pool: &Arc<Pool>, with_permit: bool) -> Begun {
    begin_with(pool, with_permit, request())
}

pub fn begin_with(pool: &Arc<Pool>, with_permit: bool, request: Request<()>) -> Begun {
    let woken = Arc::new(Woken::default());
    let engine = Engine::shared().unwrap();
    let acquiring = pool.acquire(&engine, with_permit, woken.clone());
    Begun(tokio::spawn(async move {
        let admission = taken(&acquiring, &woken).await?;
        Ok((admission.open(&engine, request, woken.clone()), woken))
    }))
}

/// An admission of a pool, unused.
pub async fn admission(pool: &Arc<Pool>) -> Result<Admission, Failure> {
    let woken = Arc::new(Woken::default());
    let engine = Engine::shared().unwrap();
    taken(&pool.acquire(&engine, true, woken.clone()), &woken).await
}

/// What opens with an admission.
pub async fn open_admitted(admission: Admission) -> Result<OpenLeg, Failure> {
    let woken = Arc::new(Woken::default());
    let engine = Engine::shared().unwrap();
    taken(&admission.open(&engine, request(), woken.clone()), &woken).await
}

async fn taken<T: Send + 'static>(pending: &Pending<T>, woken: &Woken) -> Result<T, Failure> {
    soon(async {
        loop {
            if let Some(outcome) = pending.take() {
                return outcome;
            }
            woken.0.notified().await;
        }
    })
    .await
}

impl Begun {
    pub async fn outcome(mut self) -> Result<OpenLeg, Failure> {
        let (opening, woken) = (&mut self.0).await.expect("no panic")?;
        taken(&opening, &woken).await
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub async fn open(pool: &Arc<Pool>) -> Result<OpenLeg, Failure> {
    begin(pool, true).outcome().await
}

/// The failure of an opening, and how long it took.
pub async fn failure(pool: &Arc<Pool>) -> (Failure, Duration) {
    let began = Instant::now();
    let failure = open(pool).await.expect_err("a failure");
    (failure, began.elapsed())
}

/// Asserts that it was not early, and late only by what a busy machine adds.
pub fn assert_on_time(took: Duration, set: Duration) {
    assert!(took >= set, "{took:?} is before {set:?}");
    assert!(
        took < set.mul_f64(1.1) + Duration::from_secs(1),
        "{took:?} is long after {set:?}"
    );
}

/// Waits for a future that has to finish, or the test fails.
pub async fn soon<T>(coming: impl Future<Output = T>) -> T {
    timeout(HANG, coming).await.expect("it to come")
}

/// Waits for something that has to happen, by asking for it.
pub async fn eventually(what: &str, happened: impl Fn() -> bool) {
    let seen = timeout(HANG, async {
        while !happened() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(seen.await.is_ok(), "{what} did not come");
}

/// A session, as an application has it.
pub struct Conversation {
    pub shared: Arc<SharedSession>,
    woken: Arc<Woken>,
}

impl Conversation {
    /// With a product that has no closing message.
    pub fn new() -> Self {
        Self::with(Settings::default(), "v9/echo", "")
    }

    pub fn with(settings: Settings, path: &str, query: &str) -> Self {
        let woken = Arc::new(Woken::default());
        let session = Session::new(settings, &Target { path, query }, 7);
        Self {
            shared: SharedSession::new(session, woken.clone()),
            woken,
        }
    }

    /// A session and its first leg.
    pub async fn over(pool: &Arc<Pool>) -> Self {
        let conversation = Self::new();
        conversation.go_on(pool).await;
        conversation
    }

    /// Opens the leg that the session wants.
    pub async fn go_on(&self, pool: &Arc<Pool>) {
        let now = self.shared.now();
        let step = self.shared.lock().step(now);
        let Step::Open { standby, .. } = step else {
            panic!("{step:?} in place of a leg");
        };
        let leg = begin(pool, !standby).outcome().await.expect("a leg");
        let engine = Engine::shared().unwrap();
        pump::attach(&engine, Arc::clone(&self.shared), leg, signer());
    }

    pub fn push(&self, frame: Frame) -> Result<(), PushError> {
        let now = self.shared.now();
        let mut session = self.shared.lock();
        let pushed = session.push(now, frame);
        if pushed == Err(PushError::Full) {
            self.shared.arm(interest::WRITABLE);
        }
        drop(session);
        self.shared.notify_pumps();
        pushed
    }

    pub async fn send(&self, bytes: impl Into<Bytes>) {
        let frame = Frame::Binary(bytes.into());
        let sent = timeout(HANG, async {
            while self.push(frame.clone()) == Err(PushError::Full) {
                self.woken.0.notified().await;
                self.shared.take_happened();
            }
        });
        sent.await.expect("room");
    }

    pub fn finish(&self) {
        self.shared.finish();
    }

    pub fn abort(&self) {
        self.shared.abort();
    }

    /// The next message; `None` at the end.
    pub async fn message(&self) -> Option<Frame> {
        let message = timeout(HANG, async {
            loop {
                let (message, over) = self.look();
                if message.is_some() || over {
                    return message;
                }
                self.woken.0.notified().await;
                self.shared.take_happened();
            }
        });
        message.await.expect("a message, or the end")
    }

    /// A message, if there is one, and whether the session is over. With neither the session is
    /// armed.
    fn look(&self) -> (Option<Frame>, bool) {
        let mut session = self.shared.lock();
        let message = session.pop();
        let over = session.outcome() != Outcome::Open;
        if message.is_none() && !over {
            self.shared.arm(interest::READABLE);
        }
        drop(session);
        if message.is_some() {
            self.shared.has_read();
        }
        (message, over)
    }

    /// How the session ended, once it has; the messages are dropped.
    pub async fn end(&self) -> LegEnd {
        while self.message().await.is_some() {}
        match self.shared.lock().outcome() {
            Outcome::Open => unreachable!("there are no more messages"),
            Outcome::Clean => LegEnd::Clean,
            Outcome::Failed(failure) => match &failure.cause {
                FailureCause::Leg(end) | FailureCause::NotResumable(end) => end.clone(),
                other => panic!("{other:?}"),
            },
        }
    }
}
