//! The server over real sockets.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// What the service has seen, and the bell that lets `/wait` go on.
#[derive(Default)]
struct Seen {
    made_for: Mutex<Vec<usize>>,
    asked: AtomicUsize,
    dropped: AtomicUsize,
    answered_by: Mutex<Vec<usize>>,
    bell: Notify,
}

struct Server {
    address: SocketAddr,
    seen: Arc<Seen>,
    stop: Option<oneshot::Sender<()>>,
    ended: JoinHandle<Result<(), ServeError>>,
}

/// Notices that an answer was given up.
struct Guard(Arc<Seen>, bool);

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.1 {
            self.0.dropped.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// More than the system keeps for a caller who does not read.
struct Large(Vec<u8>, Arc<Seen>);

impl AsRef<[u8]> for Large {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Large {
    fn drop(&mut self) {
        self.1.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

async fn answer(
    seen: Arc<Seen>,
    worker: usize,
    request: Request<RequestBody>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    seen.asked.fetch_add(1, Ordering::SeqCst);
    seen.answered_by.lock().unwrap().push(worker);
    let mut guard = Guard(Arc::clone(&seen), false);
    if request.uri().path() == "/wait" {
        seen.bell.notified().await;
    }
    guard.1 = true;
    if request.uri().path() == "/large" {
        // The body holds the guard's place: it is dropped when the answer is given up.
        let body = Bytes::from_owner(Large(vec![b'x'; 64 * 1024 * 1024], seen));
        return Ok(Response::new(Full::from(body)));
    }
    Ok(Response::new(Full::from("hello")))
}

impl Server {
    fn start(options: ServeOptions) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let (stop, stopped) = oneshot::channel::<()>();
        let shared = Arc::clone(&seen);
        let make_service = move |worker: WorkerId| {
            shared.made_for.lock().unwrap().push(worker.0);
            let seen = Arc::clone(&shared);
            service_fn(move |request| answer(Arc::clone(&seen), worker.0, request))
        };
        let ended = tokio::spawn(serve(listener, options, make_service, async {
            let _ = stopped.await;
        }));
        Self { address, seen, stop: Some(stop), ended }
    }

    fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    async fn until(&self, what: &str, condition: impl Fn(&Seen) -> bool) {
        let waiting = async {
            while !condition(&self.seen) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect(what);
    }
}

fn options() -> ServeOptions {
    ServeOptions {
        workers: 2,
        drain: PATIENCE,
        head_timeout: PATIENCE,
        stall_timeout: PATIENCE,
        linger: PATIENCE,
        max_connections: 100,
    }
}

async fn ask(socket: &mut TcpStream, path: &str) {
    socket.write_all(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).await.unwrap();
}

async fn read_answer(socket: &mut TcpStream) -> String {
    let reading = async {
        let mut seen = Vec::new();
        while !seen.ends_with(b"hello") {
            seen.push(socket.read_u8().await.unwrap());
        }
        String::from_utf8(seen).unwrap()
    };
    tokio::time::timeout(PATIENCE, reading).await.unwrap()
}

/// Reads to the end of the connection.
async fn read_rest(socket: &mut TcpStream) -> String {
    let mut rest = Vec::new();
    // A reset is an end, too.
    let _ = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut rest)).await.expect("still open");
    String::from_utf8(rest).unwrap()
}

#[tokio::test]
async fn connections_are_spread_over_workers_that_have_a_service_each() {
    let server = Server::start(options());
    let mut open = Vec::new();
    for _ in 0..6 {
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        for _ in 0..2 {
            ask(&mut socket, "/").await;
            assert!(read_answer(&mut socket).await.starts_with("HTTP/1.1 200"));
        }
        open.push(socket);
    }
    let mut made_for = server.seen.made_for.lock().unwrap().clone();
    made_for.sort_unstable();
    assert_eq!(made_for, [0, 1]);
    let answered_by = server.seen.answered_by.lock().unwrap().clone();
    assert_eq!(answered_by.iter().filter(|worker| **worker == 0).count(), 6);
}

#[tokio::test]
async fn http2_is_spoken_with_those_who_begin_with_it() {
    let server = Server::start(options());
    let socket = TcpStream::connect(server.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    for _ in 0..2 {
        let request = Request::get("http://a/").body(Full::<Bytes>::default()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.version(), http::Version::HTTP_2);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
    }
}

#[tokio::test]
async fn a_request_whose_first_bytes_come_one_by_one_is_served() {
    let server = Server::start(options());
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    socket.set_nodelay(true).unwrap();
    for byte in b"PUT / HTTP/1.1\r\nhost: a\r\n\r\n" {
        socket.write_all(&[*byte]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(read_answer(&mut socket).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_head_that_trickles_is_cut_off() {
    let server = Server::start(ServeOptions { head_timeout: Duration::from_millis(200), ..options() });
    for beginning in ["", "P", "GET / HTTP/1.1\r\nho"] {
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        socket.write_all(beginning.as_bytes()).await.unwrap();
        assert!(!read_rest(&mut socket).await.contains("200 OK"), "{beginning}");
    }
    assert_eq!(server.seen.asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused() {
    let server = Server::start(options());
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    let head = format!("GET / HTTP/1.1\r\nhost: a\r\nlong: {}\r\n\r\n", "x".repeat(100_000));
    let _ = socket.write_all(head.as_bytes()).await;
    let _ = read_rest(&mut socket).await;
    assert_eq!(server.seen.asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_caller_who_hangs_up_ends_the_call() {
    let server = Server::start(options());
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    ask(&mut socket, "/wait").await;
    server.until("the call has not begun", |seen| seen.asked.load(Ordering::SeqCst) == 1).await;
    drop(socket);
    server.until("the call goes on", |seen| seen.dropped.load(Ordering::SeqCst) == 1).await;
}

#[tokio::test]
async fn draining_finishes_calls_in_flight_and_takes_no_more() {
    let mut server = Server::start(options());
    let mut busy = TcpStream::connect(server.address).await.unwrap();
    ask(&mut busy, "/wait").await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    ask(&mut idle, "/").await;
    read_answer(&mut idle).await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    server.until("the calls have not begun", |seen| seen.asked.load(Ordering::SeqCst) == 2).await;
    server.stop();
    assert_eq!(read_rest(&mut idle).await, "", "an idle connection is closed at once");
    assert_eq!(read_rest(&mut silent).await, "", "so is one that has said nothing");
    assert!(TcpStream::connect(server.address).await.is_err(), "nothing is accepted any more");
    assert!(!server.ended.is_finished());
    server.seen.bell.notify_one();
    assert!(read_rest(&mut busy).await.ends_with("hello"));
    tokio::time::timeout(PATIENCE, server.ended).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn draining_ends_when_its_time_is_over() {
    let mut server = Server::start(ServeOptions { drain: Duration::from_millis(100), ..options() });
    let mut busy = TcpStream::connect(server.address).await.unwrap();
    ask(&mut busy, "/wait").await;
    server.until("the call has not begun", |seen| seen.asked.load(Ordering::SeqCst) == 1).await;
    server.stop();
    assert_eq!(read_rest(&mut busy).await, "");
    tokio::time::timeout(PATIENCE, server.ended).await.unwrap().unwrap().unwrap();
    assert_eq!(server.seen.dropped.load(Ordering::SeqCst), 1, "the call was given up, not forgotten");
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_their_turn() {
    let server = Server::start(ServeOptions { max_connections: 1, ..options() });
    let mut first = TcpStream::connect(server.address).await.unwrap();
    ask(&mut first, "/").await;
    read_answer(&mut first).await;
    let mut second = TcpStream::connect(server.address).await.unwrap();
    ask(&mut second, "/").await;
    let early = tokio::time::timeout(Duration::from_millis(100), second.read_u8()).await;
    assert!(early.is_err(), "it is served though there is no room");
    drop(first);
    assert!(read_answer(&mut second).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_caller_who_takes_nothing_of_an_answer_does_not_keep_it_for_ever() {
    let server = Server::start(ServeOptions { stall_timeout: Duration::from_millis(200), ..options() });
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    ask(&mut socket, "/large").await;
    server.until("the answer is given up", |seen| seen.dropped.load(Ordering::SeqCst) == 1).await;
    drop(socket);
}

/// Begins a request with a body that the service does not look at.
async fn begin_upload(server: &Server) -> TcpStream {
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    socket.write_all(b"PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
    socket.write_all(b"10000\r\n").await.unwrap();
    socket
}

#[tokio::test]
async fn a_caller_who_is_answered_while_it_sends_can_finish_and_finds_the_answer() {
    let server = Server::start(options());
    let mut socket = begin_upload(&server).await;
    let piece = vec![b'x'; 64 * 1024];
    // More than the system would keep of it.
    for _ in 0..256 {
        socket.write_all(&piece).await.unwrap();
        socket.write_all(b"\r\n10000\r\n").await.unwrap();
    }
    let answer = read_rest(&mut socket).await.to_lowercase();
    assert!(answer.starts_with("http/1.1 200") && answer.ends_with("hello"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
}

#[tokio::test]
async fn a_caller_who_never_finishes_sending_is_read_on_for_a_bounded_time() {
    let linger = Duration::from_millis(300);
    // Whose connection is over makes room for the next.
    let server = Server::start(ServeOptions { linger, max_connections: 1, ..options() });
    for is_sending in [true, false] {
        let socket = begin_upload(&server).await;
        let (mut reading, mut writing) = socket.into_split();
        let sending = tokio::spawn(async move {
            while is_sending && writing.write_all(&[b'x'; 1024]).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            // Kept, so that nothing ends from this side.
            writing
        });
        let mut answer = Vec::new();
        reading.read_to_end(&mut answer).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{answer:?}");
        let mut next = TcpStream::connect(server.address).await.unwrap();
        ask(&mut next, "/").await;
        assert!(read_answer(&mut next).await.starts_with("HTTP/1.1 200"), "sending: {is_sending}");
        sending.abort();
    }
}
