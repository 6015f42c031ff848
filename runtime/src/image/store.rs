//! The images and layers on disk, and their index in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci_client::Reference;
use oci_spec::image::ImageConfiguration;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::digest::{chain_id, hex, of};
use super::reference::{digested, normalize, tagged};
use super::{ImageError, MAX_LAYERS, unpack};
use crate::config::Paths;
use crate::files::{at, create_private_dir, entries, read_json, remove_dir, write_json};

const RECORD_FILE: &str = "record.json";
const CONFIG_FILE: &str = "config.json";
/// Digits of a chain id in a folder name: short, as all of them go into one page of mount options.
const LAYER_NAME: usize = 16;

/// What is known of one image.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ImageRecord {
    /// `sha256:` digest of the configuration.
    pub(crate) id: String,
    /// Tagged names.
    pub(crate) names: BTreeSet<String>,
    /// `repository@digest` names.
    pub(crate) digests: BTreeSet<String>,
    /// Folder names of the layers, base first.
    pub(crate) layers: Vec<String>,
    /// Compressed size, in bytes.
    pub(crate) size: u64,
    /// It came out of an archive and was never pulled: once it is removed nothing can bring it back.
    #[serde(default)]
    pub(crate) imported: bool,
}

/// Everything an image is made of, ready to be unpacked.
pub(super) struct NewImage {
    pub(super) config: Vec<u8>,
    /// Layers in the order of the manifest, base first; `None` for one that is on disk and held.
    pub(super) layers: Vec<Option<File>>,
    pub(super) size: u64,
}

/// All images of a runtime.
pub(crate) struct ImageStore {
    paths: Paths,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    images: BTreeMap<String, Arc<ImageRecord>>,
    /// Layers that containers or unpackings hold, with a count.
    held: HashMap<String, usize>,
}

/// Keeps layers from being removed while it lives.
pub(crate) struct Hold {
    store: Arc<ImageStore>,
    layers: Vec<String>,
}

// === impl ImageStore ===

impl ImageStore {
    /// Opens the store and drops what an interrupted unpacking left.
    pub(crate) fn open(paths: Paths) -> io::Result<Arc<Self>> {
        for folder in [paths.images(), paths.layers()] {
            create_private_dir(&folder)?;
        }
        remove_dir(&paths.ingest())?;
        create_private_dir(&paths.ingest())?;
        let mut state = State::default();
        for name in entries(&paths.images())? {
            let folder = paths.images().join(&name);
            match read_json::<ImageRecord>(&folder.join(RECORD_FILE)) {
                Ok(record) if record.layers.iter().all(|layer| paths.layers().join(layer).is_dir()) => {
                    state.images.insert(record.id.clone(), Arc::new(record));
                }
                // Torn by a crash before it was complete, or without its layers: it can be pulled again.
                _ => remove_dir(&folder)?,
            }
        }
        Ok(Arc::new(Self { paths, state: Mutex::new(state) }))
    }

    /// Every image, by id.
    pub(crate) fn list(&self) -> Vec<Arc<ImageRecord>> {
        self.state.lock().images.values().cloned().collect()
    }

    /// Finds an image by id (with or without algorithm), name, or repository digest.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<ImageRecord>> {
        let state = self.state.lock();
        let by_id = |id: &str| state.images.get(id).cloned();
        if let Some(found) = by_id(name).or_else(|| by_id(&format!("sha256:{name}"))) {
            return Some(found);
        }
        let reference = normalize(name).ok()?;
        let wanted = match (tagged(&reference), reference.digest()) {
            (Some(name), _) => name,
            (None, Some(digest)) => digested(&reference, digest),
            (None, None) => return None,
        };
        let mut images = state.images.values();
        images.find(|image| image.names.contains(&wanted) || image.digests.contains(&wanted)).cloned()
    }

    /// The configuration of an image.
    pub(crate) fn config(&self, image: &ImageRecord) -> Result<ImageConfiguration, ImageError> {
        let path = self.folder(&image.id)?.join(CONFIG_FILE);
        parse_config(&fs::read(&path).map_err(at("read", &path))?)
    }

    fn folder(&self, id: &str) -> Result<PathBuf, ImageError> {
        Ok(self.paths.images().join(hex(id)?))
    }

    /// Keeps the layers of an image on disk while the answer lives.
    pub(crate) fn hold(self: &Arc<Self>, layers: &[String]) -> Hold {
        let mut state = self.state.lock();
        for layer in layers {
            *state.held.entry(layer.clone()).or_default() += 1;
        }
        Hold { store: Arc::clone(self), layers: layers.to_vec() }
    }

    /// Which layers of an image are on disk already, base first. The answer keeps them there.
    pub(super) fn known_layers(self: &Arc<Self>, config: &[u8]) -> Result<(Vec<bool>, Hold), ImageError> {
        let names = layer_names(&parse_config(config)?)?;
        // Held first: what is found then stays.
        let hold = self.hold(&names);
        let known = names.iter().map(|name| self.paths.layers().join(name).is_dir());
        Ok((known.collect(), hold))
    }

    /// Unpacks a new image and registers it without a name. Blocks.
    pub(super) fn add(self: &Arc<Self>, new: NewImage) -> Result<(Arc<ImageRecord>, Hold), ImageError> {
        let config = parse_config(&new.config)?;
        let diff_ids = config.rootfs().diff_ids();
        if diff_ids.len() != new.layers.len() {
            let (has, says) = (new.layers.len(), diff_ids.len());
            return Err(ImageError::Invalid(format!("the image has {has} layers but its configuration says {says}")));
        }
        let names = layer_names(&config)?;
        let unpacking = self.hold(&names);
        for (index, layer) in new.layers.into_iter().enumerate() {
            match layer {
                Some(layer) => self.add_layer(layer, &diff_ids[index], &names[index], &names[..index])?,
                None if self.paths.layers().join(&names[index]).is_dir() => {}
                None => {
                    return Err(ImageError::Invalid(format!("layer {} is missing", diff_ids[index])));
                }
            }
        }
        let id = of(&new.config);
        let folder = self.folder(&id)?;
        create_private_dir(&folder)?;
        // What an answered pull or import made has to be there after a power loss.
        rustix::fs::syncfs(File::open(self.paths.layers())?).map_err(io::Error::from)?;
        crate::files::write_atomic(&folder.join(CONFIG_FILE), &new.config)?;
        let mut state = self.state.lock();
        let known = state.images.get(&id);
        let record = ImageRecord {
            id: id.clone(),
            names: known.map(|image| image.names.clone()).unwrap_or_default(),
            digests: known.map(|image| image.digests.clone()).unwrap_or_default(),
            layers: names,
            size: new.size,
            imported: known.is_some_and(|image| image.imported),
        };
        let record = self.put(&mut state, record)?;
        Ok((record, unpacking))
    }

    fn add_layer(&self, layer: File, diff_id: &str, name: &str, below: &[String]) -> Result<(), ImageError> {
        let target = self.paths.layers().join(name);
        if target.is_dir() {
            return Ok(());
        }
        let temporary = tempfile_dir(&self.paths.ingest())?;
        let lower: Vec<PathBuf> = below.iter().rev().map(|layer| self.paths.layers().join(layer)).collect();
        let unpacked = unpack::unpack(layer, diff_id, &temporary, &lower).and_then(|()| {
            match fs::rename(&temporary, &target) {
                // Another unpacking of the same layer was faster.
                Err(_) if target.is_dir() => Ok(remove_dir(&temporary)?),
                other => Ok(other.map_err(at("move a layer to", &target))?),
            }
        });
        if unpacked.is_err() {
            let _ = remove_dir(&temporary);
        }
        unpacked
    }

    /// Gives an image a name, which moves if another image had it, and the digest of its manifest.
    pub(super) fn name(&self, id: &str, reference: &Reference, digest: Option<&str>) -> Result<(), ImageError> {
        let mut state = self.state.lock();
        if let Some(name) = tagged(reference) {
            let holder = state.images.values().find(|image| image.names.contains(&name)).cloned();
            match holder {
                Some(holder) if holder.id != id => {
                    let mut changed = (*holder).clone();
                    changed.names.remove(&name);
                    self.put(&mut state, changed)?;
                }
                _ => {}
            }
            self.change(&mut state, id, |image| image.names.insert(name))?;
        }
        if let Some(digest) = digest {
            let name = digested(reference, digest);
            self.change(&mut state, id, |image| image.digests.insert(name))?;
        }
        Ok(())
    }

    /// Notes whether an image was imported; one that was pulled meanwhile counts as pulled.
    pub(super) fn set_imported(&self, id: &str, imported: bool) -> Result<(), ImageError> {
        let mut state = self.state.lock();
        self.change(&mut state, id, |image| std::mem::replace(&mut image.imported, imported) != imported)
    }

    fn change(
        &self,
        state: &mut State,
        id: &str,
        change: impl FnOnce(&mut ImageRecord) -> bool,
    ) -> Result<(), ImageError> {
        let mut record = (**state.images.get(id).ok_or_else(|| ImageError::NotFound(id.to_owned()))?).clone();
        if change(&mut record) {
            self.put(state, record)?;
        }
        Ok(())
    }

    fn put(&self, state: &mut State, record: ImageRecord) -> Result<Arc<ImageRecord>, ImageError> {
        write_json(&self.folder(&record.id)?.join(RECORD_FILE), &record)?;
        let record = Arc::new(record);
        state.images.insert(record.id.clone(), Arc::clone(&record));
        Ok(record)
    }

    /// Forgets an image with all its names, and removes the layers that nothing uses any more. Unknown is fine.
    pub(crate) fn remove(&self, name: &str) -> Result<(), ImageError> {
        let Some(image) = self.find(name) else {
            return Ok(());
        };
        {
            let mut state = self.state.lock();
            state.images.remove(&image.id);
            remove_dir(&self.folder(&image.id)?)?;
        }
        Ok(self.collect()?)
    }

    /// Removes layers that belong to no image and that nobody holds.
    pub(crate) fn collect(&self) -> io::Result<()> {
        let doomed: Vec<PathBuf> = {
            let state = self.state.lock();
            let used: BTreeSet<&String> =
                state.images.values().flat_map(|image| &image.layers).chain(state.held.keys()).collect();
            let unused = entries(&self.paths.layers())?.into_iter().filter(|name| !used.contains(name));
            // Renamed under the lock: nobody finds them any more, and removal may take its time outside.
            let moved = unused.map(|name| {
                let grave = tempfile_dir(&self.paths.ingest())?;
                fs::rename(self.paths.layers().join(name), &grave).map(|()| grave)
            });
            moved.collect::<io::Result<_>>()?
        };
        doomed.iter().try_for_each(|folder| remove_dir(folder))
    }

    /// The folder that holds all layers.
    pub(crate) fn layers(&self) -> PathBuf {
        self.paths.layers()
    }

    /// A new file for a download, gone when closed.
    pub(crate) fn scratch(&self) -> io::Result<File> {
        use rustix::fs::{CWD, Mode, OFlags, openat};
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        Ok(File::from(openat(CWD, self.paths.ingest(), flags, Mode::from_raw_mode(0o600))?))
    }
}

fn parse_config(bytes: &[u8]) -> Result<ImageConfiguration, ImageError> {
    ImageConfiguration::from_reader(bytes)
        .map_err(|error| ImageError::Invalid(format!("the image configuration cannot be read: {error}")))
}

/// The folders of an image's layers, base first.
fn layer_names(config: &ImageConfiguration) -> Result<Vec<String>, ImageError> {
    let diff_ids = config.rootfs().diff_ids();
    if diff_ids.len() > MAX_LAYERS {
        return Err(ImageError::Invalid(format!("the image has more than {MAX_LAYERS} layers")));
    }
    let mut chain: Option<String> = None;
    let names = diff_ids.iter().map(|diff_id| {
        hex(diff_id)?;
        let id = chain_id(chain.as_deref(), diff_id);
        let name = hex(&id)?[..LAYER_NAME].to_owned();
        chain = Some(id);
        Ok(name)
    });
    names.collect()
}

fn tempfile_dir(parent: &Path) -> io::Result<PathBuf> {
    let path = parent.join(uuid::Uuid::new_v4().simple().to_string());
    fs::create_dir(&path).map_err(at("create", &path))?;
    Ok(path)
}

// === impl Hold ===

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.store.state.lock();
        for layer in &self.layers {
            if let Some(count) = state.held.get_mut(layer) {
                *count -= 1;
                if *count == 0 {
                    state.held.remove(layer);
                }
            }
        }
    }
}
