//! Shows, sets and removes blocks.

use bugle_protocol::PublicKey;
use http::Method;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::json;

use super::audit::audited;
use super::{Admin, AdminError, Request, done, json_reply};
use crate::gate::blocklist::{Blocked, LONGEST_NOTE, parse_range};
use crate::http::Reply;
use crate::http::refusal::Refusal;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    #[serde(default)]
    note: String,
}

/// Shows the blocked keys and addresses.
pub(super) fn list(admin: &Admin) -> Reply {
    let service = &admin.app.service;
    let mut list = serde_json::to_value(service.blocks().list()).unwrap_or_default();
    list["limit"] = json!(service.config().admin.blocks);
    json_reply(&list)
}

/// Blocks or unblocks the key or the addresses in the path.
pub(super) async fn resource(request: Request<'_>, path: &str) -> Result<Reply, AdminError> {
    let (admin, caller) = (request.admin, request.caller);
    let method = &request.parts.method;
    if *method != Method::PUT && *method != Method::DELETE {
        return Err(Refusal::MethodNotAllowed("PUT, DELETE").into());
    }
    caller.may_change()?;
    let blocked = parse(path)?;
    let service = &admin.app.service;
    let is_put = *method == Method::PUT;
    let action = match (is_put, blocked) {
        (true, Blocked::Key(_)) => "blockKey",
        (true, Blocked::Addresses(_)) => "blockAddresses",
        (false, Blocked::Key(_)) => "unblockKey",
        (false, Blocked::Addresses(_)) => "unblockAddresses",
    };
    let note = if is_put {
        let Note { note } = request.read().await?;
        if note.chars().count() > LONGEST_NOTE {
            let problem = format!("a note has at most {LONGEST_NOTE} characters");
            return Err(AdminError::Body(problem));
        }
        Some(note)
    } else {
        None
    };
    // A key is public, but it reveals who sends to whom: only its handle is logged.
    let subject = match blocked {
        Blocked::Key(key) => service.key_handle(&key),
        Blocked::Addresses(range) => range.to_string(),
    };
    audited(admin, &caller, action, &subject, |admin| async move {
        match note {
            Some(note) => admin.app.service.block(blocked, &note).await?,
            None => admin.app.service.blocks().unblock(blocked).await?,
        }
        Ok::<_, AdminError>(())
    })
    .await?;
    Ok(done())
}

fn parse(path: &str) -> Result<Blocked, AdminError> {
    let (kind, value) = path.split_once('/').ok_or(Refusal::NotFound)?;
    let value = percent_decode_str(value).decode_utf8();
    let value = value.map_err(|_| AdminError::Blocked)?;
    match kind {
        "keys" => {
            let key = PublicKey::from_base64url(&value).map_err(|_| AdminError::Blocked)?;
            Ok(Blocked::Key(key))
        }
        "addresses" => {
            let range = parse_range(&value).ok_or(AdminError::Blocked)?;
            Ok(Blocked::Addresses(range))
        }
        _ => Err(Refusal::NotFound.into()),
    }
}
