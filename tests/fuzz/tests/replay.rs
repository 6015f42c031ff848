//! Every input that once was interesting.

use skiff_fuzz::DECODERS;

#[test]
fn every_input_of_the_corpora_is_taken_or_refused() {
    for decoder in DECODERS {
        let folder = decoder.corpus();
        let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut count = 0;
        for entry in entries {
            let path = entry.expect("an entry").path();
            eprintln!("{}", path.display());
            decoder.check(&std::fs::read(&path).expect("an input"));
            count += 1;
        }
        assert!(count > 0, "{} has no inputs", decoder.name);
    }
}
