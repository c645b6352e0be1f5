"""A browser without a window, for tests that look at pages."""

import base64
import json
import socket
import subprocess
import time

import cv2
import numpy as np
import requests


class Browser:
    """Chromium through chromedriver: W3C WebDriver is a few JSON requests, too few for a package of its own."""

    def __init__(self, profile):
        with socket.socket() as probe:
            probe.bind(('127.0.0.1', 0))
            port = probe.getsockname()[1]
        self.driver = subprocess.Popen(['chromedriver', f'--port={port}'], stdout=subprocess.DEVNULL)
        self.base, deadline = f'http://127.0.0.1:{port}', time.time() + 30
        self.http = requests.Session()
        self.http.trust_env = False
        while time.time() < deadline:
            try:
                self.http.get(f'{self.base}/status', timeout=5)
                break
            except requests.ConnectionError:
                time.sleep(0.1)
        options = {
            'args': [
                '--headless=new',
                '--no-sandbox',
                '--disable-gpu',
                '--disable-dev-shm-usage',
                '--window-size=1400,1300',
                f'--user-data-dir={profile}',
            ]
        }
        wanted = {
            'browserName': 'chrome',
            'goog:chromeOptions': options,
            'goog:loggingPrefs': {'performance': 'ALL', 'browser': 'ALL'},
        }
        session = self.http.post(f'{self.base}/session', json={'capabilities': {'alwaysMatch': wanted}}, timeout=60)
        self.base += f'/session/{session.json()["value"]["sessionId"]}'

    def post(self, path, **body):
        answer = self.http.post(f'{self.base}/{path}', json=body, timeout=60).json()['value']
        assert not (isinstance(answer, dict) and 'error' in answer), answer
        return answer

    def js(self, script):
        return self.post('execute/sync', script=f'return {script}', args=[])

    def click(self, selector):
        self.post(f'element/{self.find(selector)}/click')

    def keys(self, selector, text):
        self.post(f'element/{self.find(selector)}/value', text=text)

    def find(self, selector):
        return next(iter(self.post('element', using='css selector', value=selector).values()))

    def screenshot(self):
        content = base64.b64decode(self.http.get(f'{self.base}/screenshot', timeout=60).json()['value'])
        return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)

    def log(self, kind):
        return [
            json.loads(entry['message']) if kind == 'performance' else entry for entry in self.post('se/log', type=kind)
        ]

    def close(self):
        self.http.delete(self.base, timeout=30)
        self.driver.terminate()
        self.driver.wait(30)
