package main

import (
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	clientfeatures "k8s.io/client-go/features"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// gates are client-go's own but for WatchList.
type gates struct {
	clientfeatures.Gates
	watchList bool
}

func (g gates) Enabled(feature clientfeatures.Feature) bool {
	if feature == clientfeatures.WatchListClient {
		return g.watchList
	}
	return g.Gates.Enabled(feature)
}

// counter counts the requests that ask for initial events in a watch.
type counter struct {
	next        http.RoundTripper
	initial     atomic.Int32
	lists       atomic.Int32
	contentType atomic.Value
}

func (c *counter) RoundTrip(request *http.Request) (*http.Response, error) {
	query := request.URL.Query()
	if query.Get("sendInitialEvents") == "true" {
		c.initial.Add(1)
	} else if query.Get("watch") == "" {
		c.lists.Add(1)
	}
	response, err := c.next.RoundTrip(request)
	if err == nil {
		c.contentType.Store(response.Header.Get("Content-Type"))
	}
	return response, err
}

// counted is a client whose requests are counted.
func counted(config *rest.Config) (*kubernetes.Clientset, *counter) {
	count := &counter{}
	config = rest.CopyConfig(config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		count.next = next
		return count
	})
	return kubernetes.NewForConfigOrDie(config), count
}

// changes are what an informer told.
type changes struct {
	sync.Mutex
	added, updated, deleted map[string]int
}

func follow(informer cache.SharedIndexInformer) *changes {
	seen := &changes{added: map[string]int{}, updated: map[string]int{}, deleted: map[string]int{}}
	note := func(counts map[string]int, object any) {
		key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(object)
		if err == nil {
			_, name, _ := cache.SplitMetaNamespaceKey(key)
			seen.Lock()
			counts[name]++
			seen.Unlock()
		}
	}
	_, _ = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { note(seen.added, object) },
		UpdateFunc: func(_, object any) { note(seen.updated, object) },
		DeleteFunc: func(object any) { note(seen.deleted, object) },
	})
	return seen
}

func (c *changes) count(of map[string]int, name string) int {
	c.Lock()
	defer c.Unlock()
	return of[name]
}

func informersWithWatchList(s *stage) { s.informers(true) }

func informersWithoutWatchList(s *stage) { s.informers(false) }

func (s *stage) informers(watchList bool) {
	before := clientfeatures.FeatureGates()
	clientfeatures.ReplaceFeatureGates(gates{before, watchList})
	defer clientfeatures.ReplaceFeatureGates(before)
	for _, name := range []string{"a", "b"} {
		s.settings(name, map[string]string{"x": name})
	}
	client, count := counted(s.config)
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(s.namespace),
		informers.WithTweakListOptions(func(options *metav1.ListOptions) { options.LabelSelector = "of=test" }))
	informer := factory.Core().V1().ConfigMaps()
	seen := follow(informer.Informer())
	factory.Start(s.ctx.Done())
	for kind, synced := range factory.WaitForCacheSync(s.ctx.Done()) {
		s.check("synced", synced, kind)
	}
	s.check("asked as wanted", (count.initial.Load() > 0) == watchList, count.initial.Load())
	if watchList {
		s.check("no list", count.lists.Load() == 0, count.lists.Load())
	}
	all, err := informer.Lister().ConfigMaps(s.namespace).List(labels.Everything())
	s.ok(err)
	s.check("all that was there", len(all) == 2, len(all))
	s.settings("c", nil)
	s.until("told of a new one", func() bool { return seen.count(seen.added, "c") == 1 })
	changed := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a", Labels: map[string]string{"of": "test"}}, Data: map[string]string{"x": "2"}}
	_, err = s.client.CoreV1().ConfigMaps(s.namespace).Update(s.ctx, changed, metav1.UpdateOptions{})
	s.ok(err)
	s.until("told of a change", func() bool { return seen.count(seen.updated, "a") == 1 })
	unlabelled := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "b"}}
	_, err = s.client.CoreV1().ConfigMaps(s.namespace).Update(s.ctx, unlabelled, metav1.UpdateOptions{})
	s.ok(err)
	s.until("told that one left the selector", func() bool { return seen.count(seen.deleted, "b") == 1 })
	s.ok(s.client.CoreV1().ConfigMaps(s.namespace).Delete(s.ctx, "c", metav1.DeleteOptions{}))
	s.until("told of a deletion", func() bool { return seen.count(seen.deleted, "c") == 1 })
	got, err := informer.Lister().ConfigMaps(s.namespace).Get("a")
	s.ok(err)
	s.check("the cache is new", got.Data["x"] == "2", got.Data)
	s.check("nothing was told twice", seen.count(seen.added, "a") == 1 && seen.count(seen.updated, "a") == 1, seen.added)
}

// A relay passes connections on to the server until it is told to break them.
type relay struct {
	sync.Mutex
	target   string
	listener net.Listener
	open     []net.Conn
}

func newRelay(target string) (*relay, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &relay{target: target, listener: listener}
	go r.serve(listener)
	return r, nil
}

func (r *relay) serve(listener net.Listener) {
	for {
		near, err := listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", r.target)
		if err != nil {
			near.Close()
			continue
		}
		r.Lock()
		r.open = append(r.open, near, far)
		r.Unlock()
		pass := func(to, from net.Conn) {
			_, _ = io.Copy(to, from)
			to.Close()
			from.Close()
		}
		go pass(near, far)
		go pass(far, near)
	}
}

// breakOff ends all connections and takes no new ones until the returned function is called.
func (r *relay) breakOff() (mend func() error) {
	address := r.listener.Addr().String()
	r.listener.Close()
	r.Lock()
	defer r.Unlock()
	for _, connection := range r.open {
		connection.Close()
	}
	r.open = nil
	return func() (err error) {
		if r.listener, err = net.Listen("tcp", address); err == nil {
			go r.serve(r.listener)
		}
		return err
	}
}

func informersOverABrokenConnection(s *stage) {
	server, err := url.Parse(s.config.Host)
	s.ok(err)
	through, err := newRelay(server.Host)
	s.ok(err)
	config := rest.CopyConfig(s.config)
	config.Host = "https://" + through.listener.Addr().String()
	if config.TLSClientConfig.ServerName == "" {
		config.TLSClientConfig.ServerName = server.Hostname()
	}
	client, err := kubernetes.NewForConfig(config)
	s.ok(err)
	s.settings("kept", nil)
	s.settings("goes", nil)
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(s.namespace))
	informer := factory.Core().V1().ConfigMaps().Informer()
	seen := follow(informer)
	factory.Start(s.ctx.Done())
	s.check("synced", cache.WaitForCacheSync(s.ctx.Done(), informer.HasSynced), nil)
	mend := through.breakOff()
	s.ok(s.client.CoreV1().ConfigMaps(s.namespace).Delete(s.ctx, "goes", metav1.DeleteOptions{}))
	s.settings("comes", nil)
	time.Sleep(time.Second)
	s.check("nothing is known meanwhile", seen.count(seen.added, "comes") == 0, seen.added)
	s.ok(mend())
	s.until("told what came meanwhile", func() bool { return seen.count(seen.added, "comes") == 1 })
	s.until("told what went meanwhile", func() bool { return seen.count(seen.deleted, "goes") == 1 })
	s.check("nothing was told twice", seen.count(seen.added, "kept") == 1, seen.added)
	s.settings("after", nil)
	s.until("told what came afterwards", func() bool { return seen.count(seen.added, "after") == 1 })
}
