package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/client-go/util/exec"
)

// pod runs a pod and waits until it is ready.
func (s *stage) pod(name, image string, command ...string) {
	grace := int64(1)
	object := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{
		TerminationGracePeriodSeconds: &grace,
		Containers:                    []corev1.Container{{Name: "main", Image: image, Command: command}}}}
	pods := s.client.CoreV1().Pods(s.namespace)
	_, err := pods.Create(s.ctx, object, metav1.CreateOptions{})
	s.ok(err)
	s.until("a pod runs", func() bool {
		pod, err := pods.Get(s.ctx, name, metav1.GetOptions{})
		return err == nil && pod.Status.Phase == corev1.PodRunning
	})
}

func (s *stage) execURL(input bool, command ...string) *url.URL {
	options := &corev1.PodExecOptions{Container: "main", Command: command, Stdin: input, Stdout: true, Stderr: true}
	return s.client.CoreV1().RESTClient().Post().Resource("pods").Namespace(s.namespace).Name("shell").
		SubResource("exec").VersionedParams(options, scheme.ParameterCodec).URL()
}

func execInContainers(s *stage) {
	s.pod("shell", "skiff.local/tools:v1", "sh", "-c", `trap "exit 0" TERM; while true; do sleep 1; done`)
	executors := map[string]func(at *url.URL) (remotecommand.Executor, error){
		"websocket": func(at *url.URL) (remotecommand.Executor, error) {
			return remotecommand.NewWebSocketExecutor(s.config, http.MethodGet, at.String())
		},
		"SPDY": func(at *url.URL) (remotecommand.Executor, error) {
			return remotecommand.NewSPDYExecutor(s.config, http.MethodPost, at)
		},
		"fallback": func(at *url.URL) (remotecommand.Executor, error) {
			first, err := remotecommand.NewWebSocketExecutor(s.config, http.MethodGet, at.String())
			if err != nil {
				return nil, err
			}
			second, err := remotecommand.NewSPDYExecutor(s.config, http.MethodPost, at)
			if err != nil {
				return nil, err
			}
			return remotecommand.NewFallbackExecutor(first, second, httpstream.IsUpgradeFailure)
		},
	}
	for name, executor := range executors {
		run := func(input io.Reader, command ...string) (string, string, error) {
			var out, err bytes.Buffer
			stream, failed := executor(s.execURL(input != nil, command...))
			s.ok(failed)
			failed = stream.StreamWithContext(s.ctx, remotecommand.StreamOptions{Stdin: input, Stdout: &out, Stderr: &err})
			return out.String(), err.String(), failed
		}
		out, errs, err := run(nil, "sh", "-c", "echo out; echo err >&2")
		s.ok(err)
		s.check(name+": both outputs", out == "out\n" && errs == "err\n", out+errs)
		out, _, err = run(strings.NewReader(strings.Repeat("typed\n", 20000)), "sh", "-c", "wc -l")
		s.ok(err)
		s.check(name+": input", strings.TrimSpace(out) == "20000", out)
		_, _, err = run(nil, "sh", "-c", "exit 7")
		code, is := err.(exec.CodeExitError)
		s.check(name+": the exit code", is && code.Code == 7, err)
		_, _, err = run(nil, "nothing")
		s.check(name+": no such command", err != nil && strings.Contains(err.Error(), "not found"), err)
	}
}

func forwardPorts(s *stage) {
	s.pod("echo", "skiff.local/echo:v1")
	at := s.client.CoreV1().RESTClient().Post().Resource("pods").Namespace(s.namespace).Name("echo").SubResource("portforward").URL()
	transport, upgrader, err := spdy.RoundTripperFor(s.config)
	s.ok(err)
	plain := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, at)
	tunnel, err := portforward.NewSPDYOverWebsocketDialer(at, s.config)
	s.ok(err)
	dialers := map[string]httpstream.Dialer{
		"SPDY": plain, "websocket": tunnel,
		"fallback": portforward.NewFallbackDialer(tunnel, plain, httpstream.IsUpgradeFailure),
	}
	for name, dialer := range dialers {
		stop, ready := make(chan struct{}), make(chan struct{})
		forwarder, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{"0:8080"}, stop, ready, io.Discard, io.Discard)
		s.ok(err)
		ended := make(chan error, 1)
		go func() { ended <- forwarder.ForwardPorts() }()
		select {
		case <-ready:
		case err := <-ended:
			panic(failure{fmt.Sprintf("%s: %v", name, err)})
		case <-time.After(statePatience):
			panic(failure{name + ": not ready"})
		}
		ports, err := forwarder.GetPorts()
		s.ok(err)
		for range 3 {
			answer, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/", ports[0].Local))
			s.ok(err)
			body, err := io.ReadAll(answer.Body)
			s.ok(err)
			answer.Body.Close()
			s.check(name+": an answer", strings.Contains(string(body), "echo v1"), string(body))
		}
		close(stop)
		s.ok(<-ended)
	}
}
