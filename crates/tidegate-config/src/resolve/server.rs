//! The `server` section.

use std::net::SocketAddr;
use std::num::NonZeroUsize;

use super::Resolver;
use crate::diagnostic::Mistake;
use crate::file::{AuthKind, ServerSection};
use crate::read::Located;
use crate::settings::{Auth, Server};

/// Bodies are held in memory while a call may still move to another target.
const LARGEST_BODY: u64 = 1024 * 1024 * 1024;
/// A smaller limit would refuse a plain question.
const SMALLEST_BODY: u64 = 1024;
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
    if keys_exist || server.auth == Auth::Open || server.listen.ip().to_canonical().is_loopback() {
        return None;
    }
    Some(
        Mistake::new(format!("{} can be reached from other machines, and no key exists yet", server.listen))
            .help("listen on 127.0.0.1, or set `auth: open` under `server` if everybody may call"),
    )
}
