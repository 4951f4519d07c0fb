//! Providers' credentials: kept, opened, rotated, never shown. And that no secret of any kind is anywhere.

use tidegate_store::{
    AccessError, AuditQuery, Changed, Changes, CredentialError, CredentialSecret, Grace, KeysQuery, NewKey,
};

use crate::place::{Place, actor, master_key};

#[tokio::test]
async fn a_credential_is_opened_with_its_master_key_alone() {
    for place in Place::all().await {
        let access = place.access().with_master_key(Some(master_key(1)));
        let secret = CredentialSecret::new("sk-live-abcdefghijklmnop");
        let made = access.create_credential("openai", "main", &secret, &actor()).await.unwrap();
        assert_eq!((made.provider.as_str(), made.hint.as_str()), ("openai", "…mnop"));
        assert_eq!(access.credentials().await.unwrap(), std::slice::from_ref(&made));
        let opened = access.open_credentials().await.unwrap();
        assert_eq!(opened[0].1.as_ref().unwrap().expose(), secret.expose());

        let without = place.access();
        let missing = without.open_credentials().await.unwrap().remove(0).1.unwrap_err();
        assert_eq!(missing, CredentialError::NoMasterKey);
        assert!(missing.to_string().contains("TIDEGATE_MASTER_KEY"), "{missing}");
        let error = without.create_credential("openai", "b", &secret, &actor()).await.unwrap_err();
        assert!(matches!(error, AccessError::Credentials(CredentialError::NoMasterKey)), "{error:?}");
        let other = place.access().with_master_key(Some(master_key(2)));
        let error = other.open_credentials().await.unwrap().remove(0).1.unwrap_err();
        assert!(matches!(error, CredentialError::OtherMasterKey { .. }), "{error:?}");

        let again = access.create_credential("openai", "main", &secret, &actor()).await.unwrap_err();
        assert!(matches!(again, AccessError::Conflict { field: "label", .. }), "{again:?}");
        let moved = "UPDATE credentials SET provider = 'elsewhere'";
        place.tamper(moved).await;
        let error = access.open_credentials().await.unwrap().remove(0).1.unwrap_err();
        assert!(matches!(error, CredentialError::Altered { .. }), "{}: {error:?}", place.kind);
    }
}

#[tokio::test]
async fn credentials_and_the_master_key_are_rotated_while_others_look_on() {
    for place in Place::all().await {
        let access = place.access().with_master_key(Some(master_key(1)));
        let first = CredentialSecret::new("sk-live-first-secret-1111");
        let made = access.create_credential("openai", "main", &first, &actor()).await.unwrap();
        let second = CredentialSecret::new("sk-live-second-secret-2222");
        let rotated = access.rotate_credential(&made.id, &second, &actor()).await.unwrap();
        assert_eq!(rotated.hint, "…2222");
        let seen = access.latest_change().await.unwrap();
        assert_eq!(access.rotate_master_key(&master_key(2), &actor()).await.unwrap(), 1);
        let Changes::These { changed, .. } = access.changes_since(seen).await.unwrap() else { panic!() };
        assert_eq!(changed, [Changed::Credential(made.id.clone())]);
        let renewed = place.access().with_master_key(Some(master_key(2)));
        let opened = renewed.open_credentials().await.unwrap().remove(0).1.unwrap();
        assert_eq!(opened.expose(), second.expose(), "{}", place.kind);
        let verification = renewed.verify_audit().await.unwrap();
        assert_eq!((verification.findings, verification.sealed_through), (vec![], Some(3)));
        assert!(
            access.rotate_master_key(&master_key(3), &actor()).await.is_err(),
            "the old one opens nothing"
        );
        renewed.remove_credential(&made.id, &actor()).await.unwrap();
        assert_eq!(renewed.credentials().await.unwrap(), []);
    }
}

#[tokio::test]
async fn no_secret_is_in_the_database_a_list_or_the_audit_log() {
    for place in Place::all().await {
        let access = place.access().with_master_key(Some(master_key(1)));
        let (key, first) =
            access.create_key(NewKey { name: "x".into(), ..NewKey::default() }, &actor()).await.unwrap();
        let (_, second) = access.rotate_key(&key.id, Grace::default(), &actor()).await.unwrap();
        let provider_secret = CredentialSecret::new("sk-live-abcdefghijklmnop");
        let made = access.create_credential("openai", "main", &provider_secret, &actor()).await.unwrap();
        access.rotate_credential(&made.id, &provider_secret, &actor()).await.unwrap();
        let debugged = format!(
            "{:?} {:?} {:?} {:?} {:?}",
            access.keys(&KeysQuery::default()).await.unwrap(),
            access.audit(&AuditQuery::default()).await.unwrap(),
            access.open_credentials().await.unwrap(),
            (&first, &second, &provider_secret),
            access,
        );
        let stored = place.everything();
        for secret in [first.expose(), second.expose(), provider_secret.expose()] {
            // What is between the characters that hints may show.
            let inner = &secret[8..secret.len() - 4];
            assert!(!debugged.contains(inner), "{}", place.kind);
            assert!(!stored.windows(inner.len()).any(|bytes| bytes == inner.as_bytes()), "{}", place.kind);
        }
        let label = b"main";
        assert!(stored.windows(4).any(|bytes| bytes == label), "the search finds what is there");
    }
}
