//! The client against scripted servers over real sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::*;

const OPTIONS: SendOptions<'static> =
    SendOptions { connect_timeout: Duration::from_secs(5), fresh_connection: false, sent: None };
const FRESH: SendOptions<'static> =
    SendOptions { connect_timeout: Duration::from_secs(5), fresh_connection: true, sent: None };
const PATIENCE: Duration = Duration::from_secs(20);
const WHOLE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

/// What the server does when a request has arrived.
#[derive(Clone, Copy)]
enum Act {
    Say(&'static str),
    SayAndClose(&'static str),
    Close,
    /// Waits until the peer has gone, and reports that.
    Wait,
}

struct Server {
    endpoint: Endpoint,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    gone: mpsc::Receiver<()>,
}

impl Server {
    /// Acts in this order, request by request, on whichever connection they come; the last act is repeated.
    async fn start(acts: &'static [Act]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint::parse(&format!("http://{}/v1", listener.local_addr().unwrap())).unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let requests = Arc::new(AtomicUsize::new(0));
        let (went, gone) = mpsc::channel(16);
        let (counted, asked) = (Arc::clone(&connections), Arc::clone(&requests));
        tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                counted.fetch_add(1, Ordering::SeqCst);
                let (asked, went) = (Arc::clone(&asked), went.clone());
                tokio::spawn(async move {
                    while read_request(&mut socket).await {
                        let number = asked.fetch_add(1, Ordering::SeqCst);
                        match acts[number.min(acts.len() - 1)] {
                            Act::Say(text) => socket.write_all(text.as_bytes()).await.unwrap(),
                            Act::SayAndClose(text) => {
                                socket.write_all(text.as_bytes()).await.unwrap();
                                return;
                            }
                            Act::Close => return,
                            Act::Wait => {
                                let _ = socket.read(&mut [0; 64]).await;
                                went.send(()).await.unwrap();
                                return;
                            }
                        }
                    }
                    went.send(()).await.unwrap();
                });
            }
        });
        Self { endpoint, connections, requests, gone }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// Waits until a connection has been closed by the client.
    async fn client_gone(&mut self) {
        tokio::time::timeout(PATIENCE, self.gone.recv()).await.expect("the connection stays open").unwrap();
    }
}

/// Reads a request with a body of five bytes; `false` when the peer has gone.
async fn read_request(socket: &mut TcpStream) -> bool {
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\nhello") {
        match socket.read_u8().await {
            Ok(byte) => seen.push(byte),
            Err(_) => return false,
        }
    }
    true
}

fn request() -> Request<UpstreamBody> {
    let body =
        UpstreamBody::from_pieces([Bytes::from_static(b"he"), Bytes::new(), Bytes::from_static(b"llo")]);
    Request::builder().method(Method::POST).uri("/v1/chat/completions").body(body).unwrap()
}

async fn text(response: Response<ResponseBody>) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

#[tokio::test]
async fn a_connection_is_used_again_once_its_answer_has_been_read() {
    let server = Server::start(&[Act::Say(WHOLE)]).await;
    let client = UpstreamClient::new();
    for _ in 0..3 {
        let response = client.send(&server.endpoint, request(), OPTIONS).await.unwrap();
        assert_eq!(text(response).await, "hello");
    }
    assert_eq!((server.connections(), client.idle_connections()), (1, 1));
    let response = client.send(&server.endpoint, request(), FRESH).await.unwrap();
    assert_eq!(text(response).await, "hello");
    assert_eq!((server.connections(), client.idle_connections()), (2, 2));
}

#[tokio::test]
async fn an_answer_that_is_not_kept_alive_or_says_too_much_ends_its_connection() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhelloHTTP/1.1 200 OK",
    ] {
        let acts: &'static [Act] = vec![Act::Say(answer)].leak();
        let mut server = Server::start(acts).await;
        let client = UpstreamClient::new();
        let response = client.send(&server.endpoint, request(), OPTIONS).await.unwrap();
        assert_eq!(text(response).await, "hello");
        assert_eq!(client.idle_connections(), 0, "{answer}");
        server.client_gone().await;
    }
}

#[tokio::test]
async fn a_call_on_an_idle_connection_that_had_been_closed_is_sent_again_unseen() {
    for second in [Act::Close, Act::SayAndClose("")] {
        let acts: &'static [Act] = vec![Act::Say(WHOLE), second, Act::Say(WHOLE)].leak();
        let server = Server::start(acts).await;
        let client = UpstreamClient::new();
        for _ in 0..2 {
            let response = client.send(&server.endpoint, request(), OPTIONS).await.unwrap();
            assert_eq!(text(response).await, "hello");
        }
        assert_eq!((server.connections(), server.requests()), (2, 3));
    }
}

#[tokio::test]
async fn an_idle_connection_that_has_been_closed_is_not_tried() {
    let server = Server::start(&[Act::SayAndClose(WHOLE), Act::Say(WHOLE)]).await;
    let client = UpstreamClient::new();
    for _ in 0..2 {
        let response = client.send(&server.endpoint, request(), OPTIONS).await.unwrap();
        assert_eq!(text(response).await, "hello");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!((server.connections(), server.requests()), (2, 2));
}

#[tokio::test]
async fn a_fresh_connection_that_breaks_before_the_answer_is_an_error_and_not_tried_again() {
    let server = Server::start(&[Act::Close, Act::Say(WHOLE)]).await;
    let outcome = UpstreamClient::new().send(&server.endpoint, request(), OPTIONS).await;
    assert!(matches!(outcome.err().unwrap().error, SendError::Reset { reused: false, .. }));
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn an_answer_that_breaks_off_in_its_head_is_not_asked_for_again() {
    let server = Server::start(&[Act::Say(WHOLE), Act::SayAndClose("HTTP/1.1 200 OK\r\n")]).await;
    let client = UpstreamClient::new();
    let response = client.send(&server.endpoint, request(), OPTIONS).await.unwrap();
    assert_eq!(text(response).await, "hello");
    let outcome = client.send(&server.endpoint, request(), OPTIONS).await;
    assert!(matches!(outcome.err().unwrap().error, SendError::Reset { reused: true, .. }));
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn what_is_not_http_is_told_apart() {
    let server = Server::start(&[Act::Say("SSH-2.0-OpenSSH_9.2\r\n\r\n")]).await;
    let outcome = UpstreamClient::new().send(&server.endpoint, request(), OPTIONS).await;
    assert!(matches!(
        outcome.err().unwrap().error,
        SendError::InvalidResponse { source: InvalidResponse::Head, .. }
    ));
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_told_apart() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let endpoint = Endpoint::parse(&format!("http://{address}")).unwrap();
    let outcome = UpstreamClient::new().send(&endpoint, request(), OPTIONS).await;
    assert!(matches!(outcome.err().unwrap().error, SendError::Refused { .. }));
}

#[tokio::test]
async fn a_server_without_tls_behind_an_https_url_is_told_apart() {
    let server = Server::start(&[Act::Say(WHOLE)]).await;
    let endpoint = Endpoint::parse(&format!("https://127.0.0.1:{}", server.endpoint.port())).unwrap();
    let client = UpstreamClient::new();
    let sending = client.send(
        &endpoint,
        request(),
        SendOptions { connect_timeout: Duration::from_millis(300), ..OPTIONS },
    );
    // The server waits for a request and says nothing: the handshake never ends.
    assert!(matches!(sending.await.err().unwrap().error, SendError::ConnectTimeout { .. }));
}

#[tokio::test]
async fn dropping_the_future_closes_the_connection() {
    let mut server = Server::start(&[Act::Wait]).await;
    let client = UpstreamClient::new();
    let sending = client.send(&server.endpoint, request(), OPTIONS);
    tokio::time::timeout(Duration::from_millis(100), sending).await.err().expect("nothing is answered");
    server.client_gone().await;
    assert_eq!(client.idle_connections(), 0);
}

#[tokio::test]
async fn dropping_the_body_before_its_end_closes_the_connection() {
    let chunk = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";
    let mut server = Server::start(vec![Act::Say(chunk)].leak()).await;
    let client = UpstreamClient::new();
    let response = client.send(&server.endpoint, request(), OPTIONS).await.unwrap();
    let mut body = response.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "hello");
    drop(body);
    server.client_gone().await;
    assert_eq!(client.idle_connections(), 0);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_an_error_and_never_an_end() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    ] {
        let server = Server::start(vec![Act::SayAndClose(answer)].leak()).await;
        let response = UpstreamClient::new().send(&server.endpoint, request(), OPTIONS).await.unwrap();
        let problem = response.into_body().collect().await.expect_err(answer);
        assert!(matches!(problem, BodyError::Truncated), "{answer}");
    }
}

#[tokio::test]
async fn a_body_without_length_or_chunks_ends_with_its_connection() {
    let server = Server::start(&[Act::SayAndClose("HTTP/1.1 200 OK\r\n\r\nhello")]).await;
    let response = UpstreamClient::new().send(&server.endpoint, request(), OPTIONS).await.unwrap();
    assert_eq!(text(response).await, "hello");
}

#[tokio::test]
async fn a_refusal_counts_though_the_request_was_not_read() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let (done, waiting) = tokio::sync::oneshot::channel::<()>();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let refusal = b"HTTP/1.1 413 Too Large\r\ncontent-length: 5\r\n\r\nlarge";
        socket.write_all(refusal).await.unwrap();
        // Stays open, and unread, until the client is done.
        let _ = waiting.await;
    });
    let client = UpstreamClient::new();
    // More than the sockets' buffers hold.
    let large = Request::post("/").body(Bytes::from(vec![b'x'; 64 << 20]).into()).unwrap();
    let response =
        tokio::time::timeout(PATIENCE, client.send(&endpoint, large, OPTIONS)).await.unwrap().unwrap();
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(text(response).await, "large");
    assert_eq!(client.idle_connections(), 0, "half a request has been sent on it");
    drop(done);
}

#[tokio::test]
async fn headers_of_the_callers_connection_stay_here() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint =
        Endpoint::parse(&format!("http://localhost:{}/v1", listener.local_addr().unwrap().port())).unwrap();
    let asked = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"hello") {
            seen.push(socket.read_u8().await.unwrap());
        }
        socket.write_all(WHOLE.as_bytes()).await.unwrap();
        String::from_utf8(seen).unwrap()
    });
    let mut request = request();
    for (name, value) in [
        ("x-own", "kept"),
        ("connection", "x"),
        ("transfer-encoding", "chunked"),
        ("content-length", "9"),
        ("host", "a"),
    ] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let response = UpstreamClient::new().send(&endpoint, request, OPTIONS).await.unwrap();
    assert_eq!(text(response).await, "hello");
    let expected = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost:{}\r\nx-own: kept\r\ncontent-length: 5\r\n\r\nhello",
        endpoint.port()
    );
    assert_eq!(asked.await.unwrap(), expected);
}
