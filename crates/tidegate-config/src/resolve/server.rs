//! The `server` section.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;

use http::HeaderName;
use ipnet::IpNet;

use super::Resolver;
use crate::diagnostic::Mistake;
use crate::file::{AuthKind, ServerSection};
use crate::read::Located;
use crate::settings::{Auth, Server};

/// Bodies are held in memory while a call may still move to another target.
const LARGEST_BODY: u64 = 1024 * 1024 * 1024;
/// A smaller limit would refuse a plain question.
const SMALLEST_BODY: u64 = 1024;
/// Each is compared with the address of every call.
const MOST_PROXIES: usize = 100;
/// More threads than any machine has processors.
const MOST_WORKERS: u32 = 1024;

impl Resolver<'_> {
    pub(super) fn server(&mut self, section: Option<&ServerSection>) -> Server {
        let mut server = Server::default();
        if let Some(section) = section {
            self.fill_server(&mut server, section);
        }
        if let Some(listen) = self.listen {
            server.listen = listen;
        }
        if let Some(mistake) = check_listen(&server, self.keys_exist) {
            let place =
                section.and_then(|section| section.listen.as_ref()).map(|listen| listen.place.clone());
            self.mistakes.push(match (self.listen, place) {
                (None, Some(place)) => mistake.at(place),
                _ => mistake,
            });
        }
        server
    }

    fn fill_server(&mut self, server: &mut Server, section: &ServerSection) {
        if let Some(listen) = &section.listen
            && let Some(address) = self.address(listen)
        {
            server.listen = address;
        }
        if let Some(max_body) = &section.max_body {
            match usize::try_from(max_body.value.0) {
                Ok(size) if (SMALLEST_BODY..=LARGEST_BODY).contains(&max_body.value.0) => {
                    server.max_body = size;
                }
                _ => self.report(Mistake::new("`max_body` is between 1KiB and 1GiB"), max_body),
            }
        }
        if let Some(drain) = section.drain {
            server.drain = drain.0;
        }
        if let Some(auth) = section.auth {
            server.auth = match auth {
                AuthKind::Keys => Auth::Keys,
                AuthKind::Open => Auth::Open,
            };
        }
        if let Some(header) = &section.end_user_header
            && let Some(name) = self.end_user_header(header)
        {
            server.end_user_header = name;
        }
        if let Some(proxies) = &section.trusted_proxies {
            server.trusted_proxies = self.proxies(proxies);
        }
        if let Some(written) = &section.max_calls
            && let Some(max_calls) = self.max_calls(written)
        {
            server.max_calls = max_calls;
        }
        if let Some(queue) = &section.queue {
            server.queue = self.queue(queue);
        }
        if let Some(workers) = &section.workers {
            let number = usize::try_from(workers.value).ok().and_then(NonZeroUsize::new);
            match number.filter(|_| workers.value <= MOST_WORKERS) {
                Some(number) => server.workers = Some(number),
                None => {
                    self.report(Mistake::new(format!("`workers` is between 1 and {MOST_WORKERS}")), workers);
                }
            }
        }
    }

    /// Headers that carry something else already.
    fn end_user_header(&mut self, written: &Located<String>) -> Option<String> {
        const TAKEN: [&str; 7] =
            ["authorization", "x-api-key", "x-goog-api-key", "api-key", "host", "content-length", "cookie"];

        let name = written.value.trim().to_ascii_lowercase();
        let wrong = if HeaderName::from_bytes(name.as_bytes()).is_err() {
            format!("`{name}` cannot be the name of an HTTP header")
        } else if TAKEN.contains(&name.as_str()) {
            format!("the header `{name}` holds something else than a user's name")
        } else {
            return Some(name);
        };
        self.report(Mistake::new(wrong).help("such as `x-user-id`"), written);
        None
    }

    fn proxies(&mut self, written: &[Located<String>]) -> Vec<IpNet> {
        if let Some(beyond) = written.get(MOST_PROXIES) {
            let mistake = Mistake::new(format!("`trusted_proxies` has more than {MOST_PROXIES} entries"));
            self.report(mistake.help("write networks, such as `10.0.0.0/8`"), beyond);
        }
        let mut networks = Vec::new();
        for entry in written {
            let text = entry.value.trim();
            let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
            match network {
                Ok(network) if network.prefix_len() == 0 => {
                    let mistake =
                        Mistake::new(format!("`{text}` believes every caller about its own address"));
                    self.report(mistake.help("name the networks of your proxies"), entry);
                }
                Ok(network) => networks.push(network.trunc()),
                Err(_) => {
                    let mistake = Mistake::new(format!("`{text}` is neither a network nor an address"));
                    self.report(mistake.help("such as `10.0.0.0/8`, `192.168.1.7` or `fd00::/8`"), entry);
                }
            }
        }
        networks
    }

    fn address(&mut self, listen: &Located<String>) -> Option<SocketAddr> {
        let written = listen.value.trim();
        let (host, port) = written.rsplit_once(':').unwrap_or(("", written));
        let numeric = if host == "localhost" { format!("127.0.0.1:{port}") } else { written.to_owned() };
        if let Ok(address) = numeric.parse() {
            return Some(address);
        }
        let mistake = Mistake::new(format!("`{written}` is not an address and a port"));
        self.report(
            match port.parse::<u16>() {
                Ok(port) if host.is_empty() => mistake.help(format!("did you mean `127.0.0.1:{port}`?")),
                _ => mistake.help("write an IP address and a port, such as `127.0.0.1:8080` or `[::1]:8080`"),
            },
            listen,
        );
        None
    }
}

/// Anybody could spend the owner's money at an open address, so it takes a key or a deliberate word.
fn check_listen(server: &Server, keys_exist: bool) -> Option<Mistake> {
    let is_guarded = match server.auth {
        Auth::KeysOnceOneExists => keys_exist,
        // Without a key nobody can call, and whoever asked for keys means that.
        Auth::Keys | Auth::Open => true,
    };
    if is_guarded || server.listen.ip().to_canonical().is_loopback() {
        return None;
    }
    Some(
        Mistake::new(format!("{} can be reached from other machines, and no key exists yet", server.listen)).help(
            "make one with `tidegate keys create`, or set `auth: keys` under `server` to let nobody in until there is one, or `auth: open` if everybody may call",
        ),
    )
}
