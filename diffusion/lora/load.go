package lora

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/kudos-ml/kudos/clip"
	"github.com/kudos-ml/kudos/diffusion/unet"
	"github.com/kudos-ml/kudos/internal/hub"
	"github.com/kudos-ml/kudos/internal/weights"
)

// Load reads a file, or the one file of a folder, in one of the namings of the package comment, and
// adapts the layers that it names, of the UNet and of the text encoder. text may be nil if the file
// has nothing for it. A folder may hold the adapters of both in folders of their own, unet and
// text_encoder, as peft's scripts save them: then both are read. A name ORG/NAME may be one of a
// repository of the Hugging Face hub in this machine's cache. Each pair has its own rank. Where
// alpha comes from depends on the naming: in kohya's each pair has a tensor for it, of which 0 is
// the rank, as kohya's scripts and LyCORIS have it. In diffusers' the file's lora_adapter_metadata
// say it, and in peft's the adapter_config.json beside the file, with rank_pattern, alpha_pattern
// and use_rslora. Where neither says anything, alpha is the rank. A config that makes of the pairs
// another model is an error: one begun from parts of the weights (PiSSA, OLoRA, CorDA, LoftQ), or
// with biases or whole modules beside the adapter.
//
// Pairs are attached. What is no pair is made part of the weights at once; see the package comment.
//
// An error says what the file seems to be, and names a few and counts all of the tensors that no
// layer has a use for, of those that are missing or misshapen or not finite, and of the pairs whose
// rank is not the metadata's. Then nothing is attached or changed.
func Load(file string, u *unet.UNet2DCondition, text *clip.TextModel) (*Adapter, error) {
	file, _, err := hub.Find(file)
	var files []string
	if err == nil {
		files, err = inFolder(file)
	}
	if err != nil {
		return nil, fmt.Errorf("lora: %w", err)
	}
	a, stems := &Adapter{unet: u}, newStems(u, text)
	methods, taken := map[string]bool{}, map[*target]string{}
	for _, file := range files {
		if err := a.read(file, stems, methods, taken); err != nil {
			return nil, fmt.Errorf("lora: %w", err)
		}
	}
	a.method = strings.Join(slices.Sorted(maps.Keys(methods)), ", ")
	a.attach()
	return a, nil
}

// read reads one file. methods are those of what becomes part of the weights, and taken are the
// targets of files before this one.
func (a *Adapter) read(
	file string, s stems, methods map[string]bool, taken map[*target]string,
) error {
	f, err := weights.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	l := &loading{file: f, a: a, methods: methods, unread: map[string]int{}}
	if l.settings, err = readSettings(f); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	before := len(a.pairs) + len(a.changes)
	order, parts := l.sort(s)
	for _, t := range order {
		if other := taken[t]; other != "" {
			l.fail("%s is adapted in %s, too", t.fullName(), other)
		}
		taken[t] = file
		if err := l.add(t, parts[t]); err != nil {
			l.problems = append(l.problems, strings.Split(err.Error(), "\n")...)
		}
		for _, p := range parts[t] {
			if !p.used {
				l.fail("%s is not a tensor of this model", printable(p.name))
			}
		}
	}
	switch {
	case len(l.unread) > 0:
		method := slices.Sorted(maps.Keys(l.unread))[0]
		return fmt.Errorf("%s holds an adapter by %s, which is not read (tensors: %d); LoRA, "+
			"LoHa, LoKr and DoRA are", file, method, l.unread[method])
	case len(l.problems) > 0:
		return l.misfit(a.unet)
	case len(a.pairs)+len(a.changes) == before:
		return fmt.Errorf("%s holds no pairs%s", file, l.seems(a.unet))
	}
	return nil
}

func printable(text string) string { return weights.Printable(text) }

// inFolder are the files of an adapter: name itself, or the one that a folder holds, or those in
// peft's folders for the networks.
func inFolder(name string) ([]string, error) {
	info, err := os.Stat(name)
	if err != nil || !info.IsDir() {
		return []string{name}, err
	}
	for _, usual := range []string{"pytorch_lora_weights.safetensors", peftFile} {
		if _, err := os.Stat(filepath.Join(name, usual)); err == nil {
			return []string{filepath.Join(name, usual)}, nil
		}
	}
	entries, err := os.ReadDir(name)
	if err != nil {
		return nil, err
	}
	var all, below []string
	pickled := ""
	for _, e := range entries {
		if slices.Contains([]string{".bin", ".pt", ".pth", ".ckpt"}, filepath.Ext(e.Name())) {
			pickled = "; " + printable(e.Name()) + " is a pickle file, which can run any code"
		}
		isWeights := strings.EqualFold(filepath.Ext(e.Name()), ".safetensors")
		if isWeights && !strings.HasPrefix(e.Name(), ".") {
			all = append(all, e.Name())
		}
		if _, err := os.Stat(filepath.Join(name, e.Name(), configFile)); err == nil {
			below = append(below, e.Name())
		}
	}
	switch {
	case len(all) == 1:
		return []string{filepath.Join(name, all[0])}, nil
	case len(all) > 1:
		return nil, fmt.Errorf("the folder %s holds %d safetensors files; name one of them%s",
			name, len(all), weights.FewNames(all))
	case len(below) > 0:
		return inFolders(name, below)
	}
	return nil, fmt.Errorf("the folder %s holds no safetensors file: %w%s",
		name, fs.ErrNotExist, pickled)
}

// inFolders are the files of the adapters that lie in folders of a folder.
func inFolders(name string, below []string) (files []string, err error) {
	other := func(dir string) bool { return dir != "unet" && dir != "text_encoder" }
	if len(below) > 1 && slices.ContainsFunc(below, other) {
		return nil, fmt.Errorf("the folder %s holds the adapters of %d folders, not of unet and "+
			"text_encoder alone; name one of them%s", name, len(below), weights.FewNames(below))
	}
	for _, dir := range below {
		file, err := inFolder(filepath.Join(name, dir))
		if err != nil {
			return nil, err
		}
		files = append(files, file...)
	}
	return files, nil
}

// A loading is a file on its way into an Adapter.
type loading struct {
	file     *weights.File
	settings map[network]*setting
	a        *Adapter
	methods  map[string]bool // of what becomes part of the weights
	unread   map[string]int  // tensors of methods that are not read
	problems []string
}

func (l *loading) fail(format string, args ...any) {
	l.problems = append(l.problems, fmt.Sprintf(format, args...))
}

// misfit is the error of a file that does not fit: a sentence on what it is, and a few problems.
func (l *loading) misfit(u *unet.UNet2DCondition) error {
	return fmt.Errorf("%s does not fit%s%s", l.file.Name, l.seems(u), weights.Few(l.problems))
}

// seems says what a file is, and what this model is.
func (l *loading) seems(u *unet.UNet2DCondition) string {
	kind := l.file.Kind()
	if kind == "" || kind == "a LoRA" {
		return ""
	}
	width := u.Config.CrossAttentionDim.At(0)
	model := map[int]string{
		768: "a Stable Diffusion 1", 1024: "a Stable Diffusion 2", 2048: "a Stable Diffusion XL",
	}[width]
	if model == "" {
		model = fmt.Sprintf("one that reads texts of %d features", width)
	}
	return fmt.Sprintf(": it seems to be %s, and the model is %s", kind, model)
}

// A part is one tensor of what adapts a target.
type part struct {
	name string // in the file
	used bool
}

// sort gives the tensors to what they adapt, in the order of the names. What no layer has a use for
// is a problem, but for embeddings that lie in the file too.
func (l *loading) sort(s stems) (order []*target, parts map[*target]map[string]*part) {
	parts = map[*target]map[string]*part{}
	adapters, embeddings := map[string]bool{}, map[string]bool{}
	for _, name := range l.file.Names() {
		if rest, ok := strings.CutPrefix(name, "bundle_emb."); ok {
			token, _, _ := strings.Cut(rest, ".")
			embeddings[token] = true
			continue
		}
		if bareEmbedding.MatchString(name) {
			embeddings[name] = true
			continue
		}
		m := ending.FindStringSubmatch(name)
		var t *target
		if m != nil && m[3] != "bias" {
			t = s.find(m[1])
		}
		if t == nil {
			l.fail("%s is not a tensor of this model", printable(name))
			continue
		}
		adapters[m[3]] = true
		if method := unknownMethod(m[2]); method != "" {
			l.unread[method]++
			continue
		}
		what := m[2]
		if same := alike[what]; same != "" {
			what = same
		}
		if parts[t] == nil {
			parts[t], order = map[string]*part{}, append(order, t)
		}
		if first := parts[t][what]; first != nil {
			l.fail("%s and %s are the same tensor", printable(first.name), printable(name))
			continue
		}
		parts[t][what] = &part{name: name}
	}
	if len(adapters) > 1 {
		l.problems = nil // which are that each tensor is there twice
		names := slices.Sorted(maps.Keys(adapters))
		for i, name := range names {
			names[i] = fmt.Sprintf("%q", name)
		}
		l.fail("the file holds several adapters, of which one can be read: %s",
			strings.Join(names[:min(len(names), 6)], ", "))
		return nil, nil
	}
	l.noteEmbeddings(slices.Sorted(maps.Keys(embeddings)))
	slices.SortStableFunc(order, func(a, b *target) int {
		return strings.Compare(a.fullName(), b.fullName())
	})
	return order, parts
}

// bareEmbedding are the names that files of embeddings have for them.
var bareEmbedding = regexp.MustCompile(
	`^(emb_params|string_to_param(\.\*)?|clip_[lg]|text_encoders_[01])$`)

// noteEmbeddings says which embeddings lie in the file too.
func (l *loading) noteEmbeddings(names []string) {
	if len(names) == 0 {
		return
	}
	for i, name := range names {
		names[i] = printable(name)
	}
	slices.Sort(names)
	const few = 6
	note := fmt.Sprintf("%s also holds embeddings, which are left out: %s", l.file.Name,
		strings.Join(names[:min(len(names), few)], ", "))
	if more := len(names) - few; more > 0 {
		note += fmt.Sprintf(" and %d more", more)
	}
	l.a.Notes = append(l.a.Notes, note)
}

// add makes a pair or changes of the parts of one target.
func (l *loading) add(t *target, parts map[string]*part) error {
	r := &reader{l, t, parts}
	var errs []error
	if parts["diff"] != nil || parts["diff_b"] != nil {
		errs = append(errs, r.differences())
	}
	others := len(parts)
	for _, what := range []string{"diff", "diff_b"} {
		if parts[what] != nil {
			others--
		}
	}
	switch {
	case others == 0:
	case t.layer == nil:
		return fmt.Errorf("%s is no layer, which pairs adapt", t.fullName())
	case parts["down"] == nil && parts["up"] == nil && !r.isHadamard() && !r.isKronecker():
		// Nothing is used.
	case r.isPlainPair():
		errs = append(errs, r.pair())
	default:
		errs = append(errs, r.delta())
	}
	return errors.Join(errs...)
}
