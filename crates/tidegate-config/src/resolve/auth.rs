//! The `auth` section: whose tokens are believed.

use http::Uri;

use super::Resolver;
use crate::diagnostic::Mistake;
use crate::file::{AuthSection, JwtSection, OneOrList};
use crate::read::Located;
use crate::settings::{JwtAlgorithm, JwtClaimNames, JwtIssuer};
use crate::suggest;

/// Each has keys that are fetched again and again.
const MOST_ISSUERS: usize = 20;
/// Each is compared with every audience of a token.
const MOST_AUDIENCES: usize = 50;
/// Longer names are no names.
const LONGEST_NAME: usize = 300;
/// Clocks that are further apart are broken.
const LONGEST_LEEWAY_SECONDS: u64 = 600;
/// What is allowed when nothing is said, as the libraries of this trade have it.
const USUAL_LEEWAY: std::time::Duration = std::time::Duration::from_secs(60);

impl Resolver<'_> {
    pub(super) fn jwt_issuers(
        &mut self,
        section: Option<&AuthSection>,
        notices: &mut Vec<String>,
    ) -> Vec<JwtIssuer> {
        let sections = section.and_then(|section| section.jwt.as_deref()).unwrap_or_default();
        if let Some(beyond) = sections.get(MOST_ISSUERS) {
            self.report(Mistake::new(format!("`jwt` has more than {MOST_ISSUERS} entries")), beyond);
        }
        let mut issuers = Vec::<JwtIssuer>::new();
        for entry in sections.iter().take(MOST_ISSUERS) {
            let issuer = self.jwt_issuer(&entry.value, notices);
            if issuers.iter().any(|other| other.issuer == issuer.issuer) {
                let mistake = Mistake::new(format!("the issuer `{}` stands here twice", issuer.issuer));
                self.report(
                    mistake.help("write one entry for it, with all its audiences: `audience: [one, two]`"),
                    &entry.value.issuer,
                );
            }
            issuers.push(issuer);
        }
        issuers
    }

    fn jwt_issuer(&mut self, section: &JwtSection, notices: &mut Vec<String>) -> JwtIssuer {
        // Neither trimmed nor normalised: it is compared letter by letter.
        let issuer = section.issuer.value.clone();
        if issuer.trim().is_empty() || issuer.len() > LONGEST_NAME {
            self.report(
                Mistake::new("`issuer` is empty or too long").help("write what its tokens carry as `iss`"),
                &section.issuer,
            );
        } else if section.jwks_url.is_none()
            && let Err(why) = check_http_url(&issuer)
        {
            let mistake = Mistake::new(format!("the keys of `{issuer}` cannot be found: it {why}"));
            self.report(mistake.help("say where they are: `jwks_url: https://…`"), &section.issuer);
        }
        if let Some(url) = &section.jwks_url
            && let Err(why) = check_http_url(url.value.trim())
        {
            self.report(
                Mistake::new(format!("`jwks_url` {why}")).help("write it as `https://host/path`"),
                url,
            );
        }
        let jwks_url = section.jwks_url.as_ref().map(|url| url.value.trim().to_owned());
        let fetched_from = jwks_url.as_deref().unwrap_or(&issuer);
        if is_open_to_eavesdroppers(fetched_from) {
            notices.push(format!(
                "auth.jwt: the keys of `{issuer}` are fetched without TLS; whoever sits on the way can replace them and call as anybody"
            ));
        }
        JwtIssuer {
            audience: self.audience(&section.audience),
            algorithms: self.algorithms(section),
            claims: self.claims(section),
            organization: section
                .organization
                .as_ref()
                .map(|organization| self.filled(organization, "organization")),
            leeway: self.leeway(section),
            issuer,
            jwks_url,
        }
    }

    fn audience(&mut self, audience: &Located<OneOrList>) -> Vec<String> {
        let list = &audience.value.0;
        if list.is_empty() || list.len() > MOST_AUDIENCES || list.iter().any(|one| one.trim().is_empty()) {
            let mistake = Mistake::new("`audience` is empty, or has an empty entry or too many");
            let help =
                "write what tokens for Tidegate carry as `aud`; tokens for others must not be accepted";
            self.report(mistake.help(help), audience);
        }
        list.clone()
    }

    fn algorithms(&mut self, section: &JwtSection) -> Vec<JwtAlgorithm> {
        let Some(written) = &section.algorithms else { return JwtAlgorithm::ALL.to_vec() };
        if written.value.is_empty() {
            self.report(Mistake::new("`algorithms` is empty").help("leave it out to accept all"), written);
        }
        let mut algorithms = Vec::new();
        for name in &written.value {
            let text = name.value.trim();
            match JwtAlgorithm::ALL.into_iter().find(|known| known.as_str() == text) {
                Some(algorithm) if algorithms.contains(&algorithm) => {}
                Some(algorithm) => algorithms.push(algorithm),
                None => {
                    let help = if text.eq_ignore_ascii_case("none") {
                        Some("a token without a signature could say anything".to_owned())
                    } else if text.starts_with("HS") {
                        Some("whoever can check such a token can make one; let the issuer sign with a private key".to_owned())
                    } else {
                        suggest::hint(text, JwtAlgorithm::ALL.iter().map(|known| known.as_str()))
                    };
                    let mut mistake = Mistake::new(format!("tokens signed with `{text}` are not accepted"));
                    mistake.help = help;
                    self.report(mistake, name);
                }
            }
        }
        algorithms
    }

    fn claims(&mut self, section: &JwtSection) -> JwtClaimNames {
        let mut names = JwtClaimNames::default();
        let Some(claims) = &section.claims else { return names };
        if let Some(team) = &claims.team {
            names.team = self.filled(team, "team");
            names.is_team_required = true;
        }
        if let Some(user) = &claims.user {
            names.user = self.filled(user, "user");
            names.is_user_required = true;
        }
        names.models = claims.models.as_ref().map(|models| self.filled(models, "models"));
        names
    }

    fn leeway(&mut self, section: &JwtSection) -> std::time::Duration {
        let Some(leeway) = &section.leeway else { return USUAL_LEEWAY };
        if leeway.value.0.as_secs() > LONGEST_LEEWAY_SECONDS {
            let mistake = Mistake::new("`leeway` is longer than ten minutes");
            self.report(mistake.help("it makes expired tokens good for as long"), leeway);
        }
        leeway.value.0
    }

    fn filled(&mut self, text: &Located<String>, key: &str) -> String {
        let trimmed = text.value.trim();
        if trimmed.is_empty() || trimmed.len() > LONGEST_NAME {
            self.report(Mistake::new(format!("`{key}` is empty or too long")), text);
        }
        trimmed.to_owned()
    }
}

/// Why nothing could be fetched from there.
fn check_http_url(url: &str) -> Result<(), &'static str> {
    let uri: Uri = url.parse().map_err(|_not_a_url| "is not a URL")?;
    match uri.scheme_str() {
        Some("http" | "https") => {}
        _ => return Err("must begin with `https://`"),
    }
    match uri.authority() {
        None => Err("has no host"),
        Some(authority) if authority.as_str().contains('@') => Err("holds a user name or password"),
        Some(authority) if authority.host().is_empty() => Err("has no host"),
        Some(_) => Ok(()),
    }
}

fn is_open_to_eavesdroppers(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return false };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let is_here =
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    uri.scheme_str() == Some("http") && !is_here
}
