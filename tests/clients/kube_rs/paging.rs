//! Lists in pages, and at versions.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ListParams, PostParams, VersionMatch};
use kube::{Api, ResourceExt};

use super::typed::config_map;
use skiff_tests::stage::Stage;

/// Objects and how many of them a page has.
const OBJECTS: usize = 23;
const PAGE: u32 = 5;

pub(super) async fn pages(stage: Stage) {
    let maps: Api<ConfigMap> = stage.api();
    for number in 0..OBJECTS {
        maps.create(&PostParams::default(), &config_map(&format!("map-{number:02}"), "blue")).await.expect("created");
    }
    let own = ListParams::default().labels("kind=settings");
    let whole = maps.list(&own).await.expect("a list");
    assert_eq!(whole.items.len(), OBJECTS);
    let (mut names, mut token, mut pages, mut version) = (Vec::new(), None::<String>, 0, None);
    loop {
        let mut params = own.clone().limit(PAGE);
        params.continue_token = token;
        let page = maps.list(&params).await.expect("a page");
        if pages == 0 {
            // What changes after the first page is not in the others.
            maps.create(&PostParams::default(), &config_map("map-99", "blue")).await.expect("created");
            version = page.metadata.resource_version.clone();
        }
        assert_eq!(page.metadata.resource_version, version, "all pages show one version");
        pages += 1;
        names.extend(page.iter().map(ResourceExt::name_any));
        token = page.metadata.continue_.filter(|token| !token.is_empty());
        if token.is_none() {
            break;
        }
    }
    assert_eq!((names.len(), pages), (OBJECTS, OBJECTS.div_ceil(PAGE as usize)));
    assert!(names.is_sorted());
    stage.done("pages of one version");

    let all = maps.list(&ListParams::default().limit(2)).await.expect("a page");
    assert_eq!(
        all.metadata.remaining_item_count,
        Some(OBJECTS as i64),
        "with the new one and the authority's certificate"
    );
    stage.done("remaining items");

    let version = whole.metadata.resource_version.expect("a version");
    let exact = own.clone().at(&version).matching(VersionMatch::Exact);
    assert_eq!(maps.list(&exact).await.expect("a list of the past").items.len(), OBJECTS);
    let newer = own.clone().at(&version).matching(VersionMatch::NotOlderThan);
    assert!(maps.list(&newer).await.expect("a list").items.len() >= OBJECTS);
    assert!(maps.list(&own.clone().at("0")).await.expect("any list").items.len() >= OBJECTS);
    stage.done("versions of lists");
}
