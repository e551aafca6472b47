//! `POST /c2dm/register3`: an application of a device registers and unregisters.
//!
//! A refusal is a text with status 200, because a browser tells a page at once of the words that it
//! knows, and tries again after everything else.

use std::net::IpAddr;
use std::sync::Arc;

use bugle_protocol::PublicKey;
use bugle_protocol::mcs::{Device, Names};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use url::Url;
use url::form_urlencoded;

use crate::app::App;
use crate::config::Limit;
use crate::gate;
use crate::http::refusal::Refusal;
use crate::http::reply::{Reply, text};
use crate::service::Error;
use crate::service::devices::Wanted;

/// The type of the response.
const TEXT: &str = "text/plain; charset=utf-8";

/// The form of a request. Fields that are not listed here do not matter to the service.
#[derive(Debug, Default)]
struct Form {
    app: String,
    subtype: Option<String>,
    sender: String,
    device: String,
    is_deletion: bool,
}

/// Why a registration is refused, in the words that a browser knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    /// The site may not subscribe, or its key is none or is blocked.
    Sender(&'static str),
    /// The request is malformed, or the device is unknown.
    Parameters(&'static str),
    /// The device has too many registrations.
    TooMany(&'static str),
    /// The service has no room.
    Quota(&'static str),
}

impl Form {
    fn parse(body: &[u8]) -> Self {
        let mut form = Self::default();
        for (name, value) in form_urlencoded::parse(body) {
            match &*name {
                "app" => form.app = value.into_owned(),
                "X-subtype" => form.subtype = Some(value.into_owned()),
                "sender" => form.sender = value.into_owned(),
                "device" => form.device = value.into_owned(),
                "delete" => form.is_deletion = value == "true",
                _ => {}
            }
        }
        form
    }
}

/// Answers a request.
///
/// # Errors
/// [`Error::Unavailable`] as a [`Refusal`]: the browser tries again.
pub(super) async fn answer(
    app: &Arc<App>,
    address: IpAddr,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Reply, Refusal> {
    let form = Form::parse(body);
    let answered = match device(app, headers, &form) {
        Ok(device) => handle(app, address, device, form).await?,
        Err(refused) => Err(refused),
    };
    Ok(match answered {
        Ok(token) => text(TEXT, format!("token={token}")),
        Err(refused) => refuse(app, refused),
    })
}

/// The device of a request.
fn device(app: &App, headers: &HeaderMap, form: &Form) -> Result<Device, Refused> {
    let unknown = Refused::Parameters("unknown_device");
    let field = headers.get(AUTHORIZATION).and_then(|it| it.to_str().ok());
    let credentials = field.and_then(|field| field.strip_prefix("AidLogin "));
    let (id, token) = credentials
        .and_then(|credentials| credentials.split_once(':'))
        .ok_or(unknown)?;
    let (Ok(number), Ok(token)) = (id.parse(), token.parse()) else {
        return Err(unknown);
    };
    if form.device != id {
        return Err(unknown);
    }
    app.service.device(number, token).ok_or(unknown)
}

async fn handle(
    app: &Arc<App>,
    address: IpAddr,
    device: Device,
    form: Form,
) -> Result<Result<String, Refused>, Refusal> {
    let Some(subtype) = form.subtype else {
        // The browser itself registers too. It gets no messages, so nothing is stored.
        return Ok(Ok(match form.is_deletion {
            true => form.app,
            false => app.service.handle(device.uaid()),
        }));
    };
    let Some(names) = Names::new(form.app, subtype) else {
        return Ok(Err(Refused::Parameters("registration")));
    };
    let ending = Arc::clone(app);
    if form.is_deletion {
        let name = names.app().to_owned();
        // Not cancelled with the request: the subscription must end.
        let ended = app.finish(async move {
            let service = &ending.service;
            service.unregister_device(device, &names, address).await
        });
        ended.await?;
        return Ok(Ok(name));
    }
    let key = match admitted(app, &names, &form.sender) {
        Ok(key) => key,
        Err(refused) => return Ok(Err(refused)),
    };
    let registered = app.finish(async move {
        let wanted = Wanted { key, names };
        let service = &ending.service;
        service.register_device(device, wanted, address).await
    });
    match registered.await {
        Ok(token) => Ok(Ok(token)),
        Err(error) => refused(app, error).map(Err),
    }
}

/// The key of a registration that the service admits: by the site, and only for messages that a
/// server signs with this key.
fn admitted(app: &App, names: &Names, sender: &str) -> Result<PublicKey, Refused> {
    let site = site(names.subtype()).ok_or(Refused::Parameters("registration"))?;
    if !app.service.config().chromium.origins.admit(&site) {
        return Err(Refused::Sender("chromium.origins"));
    }
    let key = PublicKey::from_base64url(sender).ok();
    // A message names its sender exactly as the browser does.
    let key = key.filter(|key| key.to_base64url() == sender);
    key.ok_or(Refused::Sender("sender"))
}

/// The origin of the site in `wp:<origin>/#<id>`.
fn site(subtype: &str) -> Option<String> {
    let (url, _) = subtype.strip_prefix("wp:")?.split_once('#')?;
    let origin = Url::parse(url).ok()?.origin();
    origin.is_tuple().then(|| origin.ascii_serialization())
}

/// The word for an error of the service.
///
/// # Errors
/// If the browser must try again.
fn refused(app: &App, error: Error) -> Result<Refused, Refusal> {
    let label = app.row(&error).label;
    match &error {
        Error::Refused(gate::Refusal::BlockedKey) => Ok(Refused::Sender(label)),
        Error::Full(share) if share.limit() == Limit::SubscriptionsPerUserAgent => {
            Ok(Refused::TooMany(label))
        }
        Error::Full(share) if share.limit() == Limit::Subscriptions => Ok(Refused::Quota(label)),
        _ => Err(error.into()),
    }
}

/// Counts and logs why a registration is refused, because the browser tells the page only that it
/// was. The site is private and is not logged.
fn refuse(app: &App, refused: Refused) -> Reply {
    let (word, reason) = match refused {
        Refused::Sender(reason) => ("INVALID_SENDER", reason),
        Refused::Parameters(reason) => ("INVALID_PARAMETERS", reason),
        Refused::TooMany(reason) => ("TOO_MANY_REGISTRATIONS", reason),
        Refused::Quota(reason) => ("QUOTA_EXCEEDED", reason),
    };
    app.service.metrics().refuse(reason);
    tracing::info!(reason, "a registration is refused");
    text(TEXT, format!("Error={word}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_site_is_in_the_name_of_a_registration() {
        let guid = "3F2504E0-4F89-41D3-9A0C-0305E82C3301-V2";
        for (origin, expected) in [
            ("https://a.example/", Some("https://a.example")),
            ("http://localhost:8000/", Some("http://localhost:8000")),
            ("https://A.example:443/", Some("https://a.example")),
            ("data:text/html,x", None),
            ("a.example", None),
        ] {
            let found = site(&format!("wp:{origin}#{guid}"));
            assert_eq!(found.as_deref(), expected, "{origin}");
        }
        assert_eq!(site("wp:https://a.example/"), None);
        assert_eq!(site("https://a.example/#1"), None);
    }

    #[test]
    fn fields_that_are_not_known_are_skipped() {
        let form =
            Form::parse(b"app=a.b&X-scope=GCM&X-subtype=wp%3Ax%23y&sender=*&device=7&delete=true");
        assert_eq!((form.app.as_str(), form.device.as_str()), ("a.b", "7"));
        assert_eq!(form.subtype.as_deref(), Some("wp:x#y"));
        assert!(form.is_deletion);
        assert!(!Form::parse(b"delete=false").is_deletion);
    }
}
